"""One row per kind of store: fill it, overwrite every second key, compact it while one client reads random keys all the time."""
import os, random, re, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'story'))
from zdb_lib import *

MIB = int(os.environ.get('MIB', 256))


def fill(c, mode, size):
    """Half of the bytes are superseded in the end, spread evenly. Returns the keys."""
    count = (MIB << 20) // size * 2 // 3
    ids, body = [], os.urandom(size - 8)
    for lap, step in (0, 1), (1, 2):
        for at in range(0, count, 256 * step):
            names = range(at, min(at + 256 * step, count), step)
            c.sock.sendall(b''.join(c.pack('SET', (ids[i] if lap else b'') if mode == 'seq' else b'key%d' % i,
                                           (b'%08d' % (i * 2 + lap)) + body) for i in names))
            replies = [c.reply() for _ in names]
            ids += replies if not lap else []
    c('NSJUMP')
    c('SYNC', 'INDEX')
    return ids


def reads(s, keys, until):
    """Milliseconds of each GET of a random key until the condition holds."""
    c, rng, took = s.client(), random.Random(1), []
    c('SELECT', 'b')
    while not until():
        key = rng.choice(keys)
        began = time.monotonic()
        c.send('GET', key)
        c.reply()
        took.append(1000 * (time.monotonic() - began))
    return sorted(took)


def spread(took):
    return '%.2f / %.2f / %.1f' % (took[len(took) // 2], took[len(took) * 99 // 100], took[-1])


def row(mode, size, keep):
    s = Server('bench', '--datasize', '67108864').start()
    c = s.client()
    c('NSNEW', 'b')
    c('NSSET', 'b', 'mode', mode)
    c('SELECT', 'b')
    keys = fill(c, mode, size)
    end = time.monotonic() + 1
    alone = reads(s, keys, lambda: time.monotonic() > end)
    c.send('COMPACT', 'b', 'KEEP', keep)
    c.sock.setblocking(False)

    def answered():
        try:
            c.data += c.sock.recv(1 << 16)
        except BlockingIOError:
            return False
        return True

    beside = reads(s, keys, answered)
    c.sock.setblocking(True)
    f = {k: int(v) for k, v in re.findall(r'(\w+): (\d+)', c.reply().decode())}
    print('| %s, %d B, KEEP %s | %.0f | %.0f -> %.0f | %.2f | %s | %s |' % (
        mode, size, keep, f['bytes_before'] / 1e6 / (f['milliseconds'] / 1000), f['bytes_before'] / 1e6, f['bytes_after'] / 1e6,
        f['milliseconds'] / 1000, spread(alone), spread(beside)))
    s.stop()
    shutil.rmtree(s.dir)


print('| store | MB/s | MB before, after | s | GET alone: median / 99 % / worst ms | beside it |')
print('|---|---|---|---|---|---|')
for args in ('user', 256, 'NONE'), ('user', 4096, 'NONE'), ('user', 4096, 'ALL'), ('seq', 4096, 'NONE'), ('seq', 131072, 'NONE'), ('seq', 4096, 'ALL'):
    row(*args)
