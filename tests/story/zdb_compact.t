#!/usr/bin/python3
# Compaction beside clients that write, delete and read all the time, killed in the middle of it, started again: every client sees exactly
# what it wrote, and the disk gets its space back. Who must not be compacted is refused. The verb does the same for directories that
# nobody serves. SEED repeats the choices of a run.
import re, select, threading
import os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from zdb_lib import *

OK = Status('OK')
KEYS = 40           # per client


def figures(reply):
    return {k: int(v) for k, v in re.findall(r'(\w+): (\d+)', reply.decode())}


def used(s, ns):
    """Bytes that the data files of a namespace take on the disk."""
    directory = s.file('data', ns)
    return sum(os.stat(os.path.join(directory, n)).st_blocks * 512 for n in os.listdir(directory) if re.fullmatch('d[0-9]+', n))


class Worker(threading.Thread):
    """One client with keys of its own: what it wrote is what it must read. `unsure` is what a kill may have cut off."""

    def __init__(self, s, ns, number, rng):
        super().__init__()
        self.s, self.ns, self.number, self.rng = s, ns, number, random.Random(rng.random())
        self.sequential = ns == 'seq'
        self.keys, self.unsure, self.wrong, self.count, self.worst = {}, None, None, 0, 0.0
        self.halt = threading.Event()

    def connect(self):
        self.c = self.s.client()
        assert self.c('SELECT', self.ns) == OK

    def choose(self):
        kind = self.rng.random()
        value = bytes([self.rng.randrange(256)]) * self.rng.choice([0, 30, 1000, 9000, self.rng.randrange(20000)])
        if self.sequential:
            if not self.keys or (kind < 0.1 and len(self.keys) < KEYS):
                return 'SET', b'', value
            key = self.rng.choice(list(self.keys))
        else:
            key = b'%d.%d' % (self.number, self.rng.randrange(KEYS))
        if kind < 0.6:
            return 'SET', key, value
        return ('DEL', key) if kind < 0.66 else ('GET', key)

    def expect(self, op):
        if op[0] == 'GET':
            return self.keys.get(op[1])
        if op[0] == 'DEL':
            return OK if op[1] in self.keys else Error('Key not found')
        return None if self.keys.get(op[1]) == op[2] else op[1]

    def apply(self, op, reply):
        if op[0] == 'DEL':
            self.keys.pop(op[1], None)
        elif op[0] == 'SET':
            self.keys[op[1] or reply] = op[2]

    def one(self):
        op = self.choose()
        want = self.expect(op)
        self.unsure = op
        began = time.monotonic()
        reply = self.c(*op)
        if op[0] == 'GET':
            self.worst = max(self.worst, time.monotonic() - began)
        if not same(reply, want) and not (op[:2] == ('SET', b'') and isinstance(reply, bytes)):
            self.wrong = '%.60r: got %.80r, want %.80r' % (op[:2], reply, want)
        self.apply(op, reply)
        self.unsure = None
        self.count += 1

    def run(self):
        try:
            while not self.halt.is_set() and not self.wrong:
                self.one()
        except (Closed, OSError):
            pass            # the server was killed

    def verify(self):
        """Reads everything; settles what was cut off. The reason when something is not as it was left."""
        self.connect()
        op, self.unsure = self.unsure, None
        for key in set(self.keys) | ({op[1]} if op and op[1] else set()):
            value = self.c('GET', key)
            allowed = [self.keys.get(key)]
            if op and op[1] == key and op[0] != 'GET':
                allowed.append(op[2] if op[0] == 'SET' else None)
            if value not in allowed:
                return '%s, client %d, key %r: %.60r' % (self.ns, self.number, key, value)
            if value is None:
                self.keys.pop(key, None)
            else:
                self.keys[key] = value
        return None


def crew(s, rng, old=None):
    workers = []
    for i, ns in enumerate(['user', 'seq'] * 2):
        w = Worker(s, ns, i, rng)
        if old:
            w.keys = old[i].keys
        w.connect()
        workers.append(w)
    for w in workers:
        w.start()
    return workers


def ended(workers):
    for w in workers:
        w.halt.set()
    for w in workers:
        w.join(LIMIT)
    return next((w.wrong for w in workers if w.wrong), None)


def compacting(c, ns):
    found = re.search(r'compacting: (\d+) of (\d+)', c('NSINFO', ns).decode())
    return int(found.group(1)) if found else -1


def verified(workers, what):
    wrong = next((x for x in (w.verify() for w in workers) if x), None)
    return ok(not wrong, what, wrong)


def check(s):
    run = subprocess.run([QSFS, 'zdb', 'check', '--data', s.file('data'), '--index', s.file('index')], capture_output=True, text=True)
    return ok(run.returncode == 0, 'nothing is wrong on the disk', run.stdout + run.stderr)


def under_load(s, rng):
    note('under load')
    c = s.client()
    workers = crew(s, rng)
    grown = lambda: all(used(s, ns) > 12 << 20 for ns in ('user', 'seq'))
    ok(wait_until(grown), 'two namespaces of 12 MiB')
    rounds, total = 0, 0
    for _ in range(4):
        for ns in 'user', 'seq':
            got = c('COMPACT', ns, 'THRESHOLD', 1)
            if not isinstance(got, bytes):
                return ok(False, 'COMPACT answers with figures', got)
            f = figures(got)
            rounds, total = rounds + f['rewritten'], total + f['bytes_before'] - f['bytes_after']
            if f['refused']:
                ok(False, 'no file is refused', got)
    wrong = ended(workers)
    ok(not wrong, '%d operations of four clients meanwhile, all as the model says' % sum(w.count for w in workers), wrong)
    ok(rounds > 8 and total > 16 << 20, '%d files rewritten, %.1f MiB given back' % (rounds, total / 1048576))
    note('the slowest GET took %.1f ms' % (1000 * max(w.worst for w in workers)))
    verified(workers, 'everything is there')
    live = int(re.search(r'data_size_bytes: (\d+)', c('NSINFO', 'user').decode()).group(1))
    c('SELECT', 'user')
    c('NSJUMP')
    before = used(s, 'user')
    c('COMPACT', 'user', 'THRESHOLD', 0)
    ok(used(s, 'user') < live + (1 << 20), 'what is left is what lives: %d KiB of %d' % (used(s, 'user') >> 10, live >> 10), before)
    return workers


def killed(s, rng, workers):
    note('killed in the middle')
    caught = 0
    for number in range(6):
        ns = ('user', 'seq')[number % 2]
        size = used(s, ns)
        workers = crew(s, rng, workers)
        wait_until(lambda: used(s, ns) > size + (6 << 20))
        asking, looking = s.client(), s.client()
        asking.send('COMPACT', ns, 'THRESHOLD', 0)
        aim = rng.randrange(10)
        answered = lambda: bool(select.select([asking.sock], [], [], 0)[0])
        wait_until(lambda: compacting(looking, ns) >= aim or answered())
        caught += not answered()
        s.kill()
        wrong = ended(workers)
        if wrong:
            return ok(False, 'all as the model says, until the kill', wrong)
        s.start()
        if not verified(workers, 'killed: %s' % ns):
            return workers
        left = [n for n in os.listdir(s.file('data', ns)) if n.endswith('.new')]
        ok(not left and not os.path.exists(s.file('index', ns, 'compact')), 'nothing is left of it', left)
    ok(caught > 0, 'a compaction was running at %d of 6 kills' % caught)
    f = figures(s.client()('COMPACT', 'user', 'THRESHOLD', 0))
    ok(f['refused'] == 0, 'and a later one goes on', f)
    verified(workers, 'everything is there')
    return workers


def stopped(s, rng, workers):
    note('stopped and removed in the middle')
    c = s.client()
    for ns in 'user', 'seq':
        s.client().send('COMPACT', ns, 'THRESHOLD', 0)
    equal(s.stop(), 143, 'a stop does not wait for it')
    check(s)
    s.start()
    verified(workers, 'everything is there')
    c, other = s.client(), s.client()
    c('NSNEW', 'gone')
    c('SELECT', 'gone')
    for i in range(600):
        c('SET', 'key%d' % (i % 50), os.urandom(9000))
    other.send('COMPACT', 'gone', 'THRESHOLD', 0)
    equal(s.client()('NSDEL', 'gone'), OK, 'a namespace is removed while it is compacted')
    reply = other.reply()
    ok(isinstance(reply, bytes) or reply == Error('Compaction was stopped'), 'who asked hears of it', reply)
    equal(s.client()('PING'), Status('PONG'), 'others are served')


def words(s):
    note('words and refusals')
    c = s.client()
    for line in [('COMPACT', 'default', 'KEEP'), ('COMPACT', 'KEEP', 'x'), ('COMPACT', 'THRESHOLD', '101'), ('COMPACT', 'default', 'KEEP', '-1'),
                 ('COMPACT', 'default', 'SHRINK', '1')]:
        equal(c(*line), Error('Invalid argument'), ' '.join(line))
    equal(c('COMPACT', 'nobody'), Error('Namespace not found'), 'no such namespace')
    c('NSNEW', 'w')
    c('NSSET', 'w', 'worm', '1')
    equal(c('COMPACT', 'w'), Error('Namespace is protected by worm mode'), 'worm')
    c('NSSET', 'default', 'lock', '1')
    equal(c('COMPACT'), Error('Namespace is temporarily locked (read-only)'), 'locked')
    c('NSSET', 'default', 'lock', '0')
    c('SET', 'key', 'value')
    follower = s.client()
    follower('DATA', 'RAW', '0', '28')
    equal(c('COMPACT'), Error('A follower reads this namespace'), 'a follower')
    follower.close()
    wait_until(lambda: not isinstance(c('COMPACT'), Error))
    mirror = s.client()
    mirror('MIRROR')
    equal(c('COMPACT', 'default'), Error('A mirror is attached'), 'a mirror')
    mirror.close()
    ok(wait_until(lambda: not isinstance(c('COMPACT'), Error)), 'gone, it is possible again')


def history(s):
    note('history')
    c = s.client()
    c('NSNEW', 'h')
    c('SELECT', 'h')
    for i in range(1, 6):
        c('SET', 'key', 'version %d' % i, 1000 * i)
        c('NSJUMP')
    chain = lambda: walk(c, 'key')
    equal(chain(), [b'version %d' % i for i in (5, 4, 3, 2, 1)], 'five versions')
    c('COMPACT', 'KEEP', 'ALL', 'THRESHOLD', '0')
    equal(chain(), [b'version %d' % i for i in (5, 4, 3, 2, 1)], 'KEEP ALL keeps them')
    c('COMPACT', 'KEEP', int(time.time()) - 3500, 'THRESHOLD', '0')
    equal(chain(), [b'version 5', b'version 4'], 'KEEP with seconds keeps the younger ones')
    c('COMPACT', 'KEEP', 'NONE', 'THRESHOLD', '0')
    equal(chain(), [b'version 5'], 'KEEP NONE keeps what lives')


def walk(c, key):
    reply, out = c('HISTORY', key), []
    while True:
        out.append(reply[2])
        if reply[0] is None:
            return out
        reply = c('HISTORY', key, reply[0])


def stored(rng):
    for option, what, text in (
            ('--spool', 'stored', 'A stored namespace is compacted in sequential mode and without history only'),
            ('--hook', 'hooked', 'Namespace is hooked, its closed segments may not change')):
        s = Server('compact-' + what, option, '{dir}/spool' if option == '--spool' else '/bin/true').start()
        c = s.client()
        equal(c('COMPACT'), Error(text), what)
        c('NSNEW', 'x-temp')
        ok(isinstance(c('COMPACT', 'x-temp'), bytes), 'but not a temporary one')
        s.stop()


def verb(s, *words):
    run = subprocess.run([QSFS, 'zdb', 'compact', *words], capture_output=True, text=True)
    return run.returncode, run.stdout + run.stderr


def asked():
    """The verb with a server that has an admin password: who may not gets 6, what is not there is 7."""
    note('the verb and the password')
    s = Server('compact-admin', '--admin', 'secret').start()
    for words in [], ['-n', 'default'], ['-n', 'nobody']:
        code, text = verb(s, '-s', s.path, *words)
        ok(code == 6 and 'admin password' in text and '--admin-file' in text and len(text.splitlines()) == 1,
           'no password, %s: 6 and one line' % (words or 'all'), (code, text))
    c = s.client()
    c('AUTH', 'secret')
    c('NSNEW', 'other')
    for mode, text, word in (0o644, 'secret', '0600'), (0o600, '', 'must have 1 to'):
        with open(s.file('password'), 'w') as f:
            f.write(text + '\n')
        os.chmod(f.name, mode)
        got, said = verb(s, '-s', s.path, '--admin-file', f.name)
        ok(got == 6 and word in said and f.name in said, 'a password file that is not one: 6, and the words of the server', (got, said))
    for text, code, word in ('wrong', 6, 'Access denied'), ('secret', 0, 'other: 0 of 0'), ('secret', 7, 'no namespace nobody'):
        with open(s.file('password'), 'w') as f:
            f.write(text + '\n')
        os.chmod(f.name, 0o600)
        got, said = verb(s, '-s', s.path, '--admin-file', f.name, *(['-n', 'nobody'] if code == 7 else []))
        ok(got == code and word in said, 'the password is %s: %d' % (text, code), (got, said))
    s.stop()


def offline(s, workers):
    note('the verb')
    code, text = verb(s, s.dir)
    ok(code == 5 and '--socket' in text, 'while a server holds the directories: 5', (code, text))
    code, text = verb(s, '--socket', s.path, '-n', 'h')
    ok(code == 0 and 'h: 0 of 5 closed files rewritten' in text, 'it is asked instead', (code, text))
    s.stop()
    code, text = verb(s, s.dir, '-n', 'nobody')
    equal(code, 7, 'no such namespace: 7')
    code, text = verb(s, s.dir, '--threshold', '0')
    ok(code == 3 and 'namespace w is not compacted: it is protected by worm mode' in text, 'all but the protected one: 3', (code, text))
    found = re.search(r'user: index (\d+) -> (\d+) bytes', text)
    ok(found and int(found.group(2)) * 4 < int(found.group(1)), 'the index of user keys shrinks, too', text)
    ok('seq: index' not in text, 'that of sequential ids does not', text)
    check(s)
    code, text = verb(s, s.dir, '--threshold', '0', '-n', 'user')
    ok(code == 0 and 'user: 0 of ' in text, 'a second time there is nothing to be done', (code, text))
    os.mkdir(s.file('spool'))
    code, text = verb(s, s.dir)
    ok(code == 1 and 'stored volume' in text, 'a stored volume is refused', (code, text))
    os.rmdir(s.file('spool'))
    code, text = verb(s)
    equal(code, 2, 'neither directory nor server: 2')
    s.start()
    verified(workers, 'everything is there')


def main():
    rng = seed()
    s = Server('compact', '--datasize', '1048576').start()
    c = s.client()
    for name, mode in ('user', 'user'), ('seq', 'seq'):
        c('NSNEW', name)
        c('NSSET', name, 'mode', mode)
    workers = under_load(s, rng)
    if workers:
        workers = killed(s, rng, workers)
        stopped(s, rng, workers)
        words(s)
        history(s)
        offline(s, workers)
        s.stop()
        check(s)
    stored(rng)
    asked()


run(main)
