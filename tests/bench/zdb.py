"""What tests/bench/zdb.sh measures. Run that."""
import os, re, statistics, struct, subprocess, sys, time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'story'))
from zdb_lib import QSFS, PEER, Client, Peer, Server, servers, wait_until
import shutil, socket, tempfile

BENCH_BIN = os.environ.get('BENCH_BIN', os.path.join(os.path.dirname(QSFS), 'x86_64', 'tests', 'bench'))
ROUNDS = int(os.environ.get('ROUNDS', 5))
SCALE = float(os.environ.get('SCALE', 1))
MILLION = int(1000000 * SCALE)


class Redis:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix='zdb-bench-redis.')
        self.path = os.path.join(self.dir, 'sock')
        probe = socket.socket()
        probe.bind(('127.0.0.1', 0))
        self.port = probe.getsockname()[1]
        probe.close()
        self.process = subprocess.Popen(['redis-server', '--port', str(self.port), '--bind', '127.0.0.1', '--unixsocket', self.path, '--dir', self.dir,
                                         '--appendonly', 'yes', '--appendfsync', 'everysec', '--save', '', '--auto-aof-rewrite-percentage', '0'],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: os.path.exists(self.path))

    def stop(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def rate(address, arguments, words=(), last=None, limit=600):
    """Requests per second of one redis-benchmark run; `last` is a last word too long for the command line."""
    where = ['-s', address] if isinstance(address, str) else ['-h', address[0], '-p', str(address[1])]
    out = subprocess.run(['redis-benchmark', *where, '-q', '--csv', *(['-x'] if last else []), *arguments, *words], input=last, stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, timeout=limit)
    rows = [line for line in out.stdout.decode().splitlines() if line.startswith('"') and not line.startswith('"test"')]
    return float(rows[-1].split(',')[1].strip('"'))


def key_and_value(test, size):
    """Words of a request on one of 1,000 keys, and the value of a SET: a new one each time, since a SET of the value that is there writes nothing."""
    if test == 'get':
        return ['GET', 'key:__rand_int__'], None
    return ['SET', 'key:__rand_int__'], b'x' * (size - 12) + b'__rand_int__'


def large_rate(address, test, size, count):
    """Requests per second of the load generator for large values (tests/bench/resp_load.c)."""
    where = 'unix:' + address if isinstance(address, str) else str(address[1])
    out = subprocess.run([os.path.join(BENCH_BIN, 'resp_load'), where, '50', str(count), test, str(size), '1000'], stdout=subprocess.PIPE, check=True, timeout=600)
    return float(out.stdout.split()[0])


def cpu_us(pid):
    with open('/proc/%d/stat' % pid) as f:
        fields = f.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1e6 / os.sysconf('SC_CLK_TCK')


def spread(values):
    return '%.2f..%.2f' % (min(values), max(values))


def original_rate(*arguments):
    """The same of the original 0-db, which may stop answering a long pipeline for ever: then 0."""
    try:
        return rate(*arguments, limit=60)
    except subprocess.TimeoutExpired:
        return 0


def row(what, got, wanted):
    ratios = [a / b for a, b in zip(got['z'], got['r'])]
    cpu = [statistics.median(got[name + 'cpu']) for name in ('z', 'r')]
    print('| %s | %.0f | %.0f | %.2f | %s | %s | %.1f / %.1f |%s' % (what, statistics.median(got['z']), statistics.median(got['r']), statistics.median(ratios), spread(ratios),
                                                                   wanted, *cpu, ' %.0f |' % statistics.median(got['o']) if 'o' in got else ''))
    sys.stdout.flush()


def pairs(z, r, o):
    print('| operation, 50 clients | zdb/s | redis/s | ratio (median) | spread | wanted | CPU us/op |' + (' 0-db/s |' if o else ''))
    print('|---|---|---|---|---|---|---|' + ('---|' if o else ''))
    for size, pipeline, count, wanted in (64, 1, 150000, (1, 1)), (4096, 1, 80000, (1, 1)), (64, 16, 800000, (0.8, 0.8)), (131072, 1, 5000, (2, 1.5)):
        count = max(500, int(count * SCALE))
        for net in 'unix', 'tcp':
            for test, want in zip(('set', 'get'), wanted):
                got = {}
                arguments = ['-c', '50', '-n', str(count), '-r', '1000', '-P', str(pipeline)]
                words, value = key_and_value(test, size)
                for n in range(ROUNDS):
                    order = [('z', z), ('r', r)] if n % 2 else [('r', r), ('z', z)]
                    for name, s in order:
                        address = s.path if net == 'unix' else ('127.0.0.1', s.port)
                        measured(s, count, got, name, lambda: rate(address, arguments, words, value))
                    if o:
                        got.setdefault('o', []).append(original_rate(o.path if net == 'unix' else ('127.0.0.1', o.port), arguments, words, value))
                row('%s %d B%s, %s' % (test.upper(), size, ' -P %d' % pipeline if pipeline > 1 else '', net), got, '%g' % want)


def measured(s, count, got, name, run):
    """One run against one server: rate, and the processor time the server took per request."""
    before = cpu_us(s.process.pid)
    got.setdefault(name, []).append(run())
    got.setdefault(name + 'cpu', []).append((cpu_us(s.process.pid) - before) / count)


def large(z, r):
    """128 KiB by a load generator that does not copy them twice itself. What was written before is on the disk first."""
    print('\n| large values, lean load generator, 50 clients | zdb/s | redis/s | ratio (median) | spread | wanted | CPU us/op |')
    print('|---|---|---|---|---|---|---|')
    count = max(1000, int(10000 * SCALE))
    for net in 'unix', 'tcp':
        for test, want in ('set', 2), ('get', 1.5):
            got = {}
            for n in range(ROUNDS):
                for name, s in [('z', z), ('r', r)] if n % 2 else [('r', r), ('z', z)]:
                    os.sync()
                    address = s.path if net == 'unix' else ('127.0.0.1', s.port)
                    measured(s, count, got, name, lambda: large_rate(address, test, 131072, count))
            row('%s 128 KiB, %s' % (test.upper(), net), got, '%g' % want)


def mget(z, r, o):
    print('\n| MGET of 20 keys of 64 B, one client | zdb ms | redis ms | wanted ms |' + (' 0-db ms |' if o else ''))
    print('|---|---|---|---|' + ('---|' if o else ''))
    every = [('z', z), ('r', r)] + ([('o', o)] if o else [])
    for _, s in every:
        c = Client(s.path)
        for i in range(20):
            c('SET', 'mget%d' % i, 'x' * 64)
    for net, wanted in ('unix', 0.2), ('tcp', 0.3):
        got = {}
        for n in range(ROUNDS):
            for name, s in every:
                # the original takes 40 ms for each over TCP
                got.setdefault(name, []).append(1000 / rate(s.path if net == 'unix' else ('127.0.0.1', s.port), ['-c', '1', '-n', '200' if name == 'o' else '5000'],
                                                            ['MGET'] + ['mget%d' % i for i in range(20)]))
        print('| %s | %.3f | %.3f | %g |%s' % (net, statistics.median(got['z']), statistics.median(got['r']), wanted, ' %.3f |' % statistics.median(got['o']) if o else ''))


def pss(s):
    with open('/proc/%d/smaps_rollup' % s.process.pid) as f:
        return [int(line.split()[1]) * 1024 for line in f if line.startswith('Pss:')][0]


def load(s, sequential):
    c = Client(s.path)
    value = b'v' * 16
    for at in range(0, MILLION, 1000):
        count = min(1000, MILLION - at)
        c.sock.sendall(b''.join(Client.pack('SET', b'' if sequential else b'key:%012d' % i, value, '1700000000') for i in range(at, at + count)))
        need = count * len(b'$8\r\n12345678\r\n' if sequential else b'$16\r\nkey:000000000000\r\n')
        c._bytes(need)
    c('SYNC', 'INDEX')
    c.close()


def full_scan(s, key):
    """Pages until the end, without parsing the entries: all have one size. Returns (seconds, entries)."""
    c, entry, entries, cursor = Client(s.path), len(b'*3\r\n$%d\r\n%s\r\n:16\r\n:1700000000\r\n' % (len(key), key)), 0, []
    begin = time.monotonic()
    while True:
        c.send('SCAN', *cursor)
        head = c._line()
        if head != b'*2':
            return time.monotonic() - begin, entries
        c._line()
        cursor = [c._bytes(19)[:17]]
        count = int(c._line()[1:])
        c._bytes(count * entry)
        entries += count


def start_time(s):
    begin = time.monotonic()
    s.start()
    return time.monotonic() - begin


def million(mode, kind=Server):
    s = kind('bench', '--mode', mode, '--datasize', '1G').start()
    empty = pss(s)
    load(s, mode == 'seq')
    s.stop()
    times = []
    for _ in range(ROUNDS):
        times.append(start_time(s))
        loaded = pss(s)
        scan, entries = full_scan(s, b'8bytekey' if mode == 'seq' else b'key:000000000000')
        s.stop()
    print('| %s%d keys, %s mode | start %.3f s (%s) | full SCAN of %d in %.2f s | PSS %.1f MiB, %.1f bytes per key over empty |' % (
        '' if kind is Server else '0-db: ', MILLION, mode, statistics.median(times), spread(times), entries, scan, loaded / 2**20, (loaded - empty) / MILLION))
    sys.stdout.flush()


def fsync():
    print('\n| SET 64 B, --fsync | clients | per second |')
    print('|---|---|---|')
    got = {}
    for n in range(ROUNDS):
        for policy, clients, count in ('no', 50, 100000), ('always', 50, 50000), ('always', 1, 3000):
            s = Server('bench', '--mode', 'user', '--fsync', policy).start()
            got.setdefault((policy, clients), []).append(rate(s.path, ['-c', str(clients), '-n', str(max(200, int(count * SCALE))), '-r', '1000'],
                                                              *key_and_value('set', 64)))
            s.stop()
            shutil.rmtree(s.dir, ignore_errors=True)
    for (policy, clients), values in got.items():
        print('| %s | %d | %.0f |' % (policy, clients, statistics.median(values)))
    no, many, one = (statistics.median(got[k]) for k in (('no', 50), ('always', 50), ('always', 1)))
    print('\n50 clients with `always`: %.2f of `no`, %.1f times one client (wanted: 0.5, or 20 times, whichever is less)' % (many / no, many / one))


def main():
    print('load average %s, %d CPUs, %d rounds, scale %g\n' % (open('/proc/loadavg').read().split()[0], os.cpu_count(), ROUNDS, SCALE))
    z = Server('bench', '--mode', 'user', '--datasize', '1G', tcp=True).start()
    idle = pss(z)
    r = Redis()
    o = Peer('bench-original', '--mode', 'user', '--datasize', '1G', tcp=True).start() if PEER else None
    pairs(z, r, o)
    large(z, r)
    mget(z, r, o)
    r.stop()
    z.stop()
    if o:
        o.stop()
    print('\nidle: PSS %.2f MiB (wanted 3)\n' % (idle / 2**20))
    print('| 1M keys | start after a clean stop | SCAN | memory |')
    print('|---|---|---|---|')
    for kind in [Server] + ([Peer] if PEER else []):
        million('user', kind)
        million('seq', kind)
    fsync()


try:
    main()
finally:
    for s in servers:
        if s.process and s.process.poll() is None:
            s.process.kill()
            s.process.wait()
        shutil.rmtree(s.dir, ignore_errors=True)
