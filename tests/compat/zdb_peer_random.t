#!/usr/bin/python3
# Random commands to a server of ours and to the original (ZDB_PEER=/path/to/zdb; without it everything is skipped): the replies are the same
# byte for byte, but for the differences that stand in docs/zdb-differences.md, each of which has a name and a rule here. SEED repeats a
# run, ROUNDS lengthens it.
import collections, hashlib, os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from zdb_store import *

ROUNDS = int(os.environ.get('ROUNDS', 4000))
ADMIN = 'secret'
PASSWORDS = ['pw', 'other', ADMIN]
NAMES = ['default', 'a', 'b', 'c']
CONNECTIONS = 4
PREFIXES = ['GE', 'KEYT', 'PIN', 'dBs', '']
PREFIX_RULE = 'prefixes of names are names there (2.3)'
BEGIN = int(time.time())


class Raw(Client):
    """Keeps the bytes of the last reply."""

    seen = b''

    def __call__(self, *words):
        self.seen = b''
        try:
            return super().__call__(*words)
        except Closed:
            self.seen += b'(closed)'
            return None

    def _line(self):
        line = super()._line()
        self.seen += line + b'\r\n'
        return line

    def _bytes(self, count):
        got = super()._bytes(count)
        self.seen += got
        return got


# ---- differences on purpose: name -> rule(d, words, theirs, ours) -> whether it explains them. Replies are parsed.

def is_error(reply, text):
    return same(reply, Error(text))


def recent(ts):
    return BEGIN - 2 <= ts <= time.time() + 2


def clock(d, words, theirs, ours):
    if words[0] == 'TIME':
        return [len(x) == 2 and recent(int(x[0])) and int(x[1]) < 1000000 for x in (theirs, ours)] == [True, True]
    return words[0] in ('KEYTIME', 'HISTORY', 'SCAN', 'SCANX', 'RSCAN', 'DATA') and same_but_times(theirs, ours)


def same_but_times(theirs, ours):
    """Times that a server took from its own clock differ by the moment between the two."""
    if isinstance(theirs, list) and isinstance(ours, list):
        return len(theirs) == len(ours) and all(same_but_times(a, b) for a, b in zip(theirs, ours))
    if same(theirs, ours):
        return True
    try:
        return type(theirs) is type(ours) and recent(int(theirs)) and recent(int(ours))
    except (TypeError, ValueError):
        return False


def listing_is_signed(d, words, theirs, ours):
    return isinstance(theirs, list) and isinstance(ours, list) and same_but_times(
        [theirs[0], [[e[0], e[1], e[2] & 0xffffffff] for e in theirs[1]]], ours)


def page_is_shorter(d, words, theirs, ours):
    """A page ends after 2 ms, on a busy machine after fewer entries: then the cursors differ as well. whole() compares all of them."""
    if not isinstance(theirs, list) or not isinstance(ours, list):
        return False
    a, b = [[e[0], e[1], e[2] & 0xffffffff] for e in theirs[1]], ours[1]
    count = min(len(a), len(b))
    return len(a) != len(b) and count > 0 and same_but_times(a[:count], b[:count])


# What NSINFO shows of the machine, of the directories, and a count without use in user mode
NSINFO_OWN = {'index_disk_freespace_bytes', 'index_disk_freespace_mb', 'data_disk_freespace_bytes', 'data_disk_freespace_mb', 'data_path', 'data_active',
              'index_path', 'index_active'}


def fields(text):
    return [line.split(b': ', 1)[0].decode() for line in text.splitlines()]


def nsinfo_of_the_place(d, words, theirs, ours):
    if not isinstance(theirs, bytes) or not isinstance(ours, bytes) or fields(theirs) != fields(ours):
        return False
    own = NSINFO_OWN | (set() if b'mode: sequential' in ours else {'next_internal_id'})
    return all(a == b or a.split(b': ')[0].decode() in own for a, b in zip(theirs.splitlines(), ours.splitlines()))


def space_wraps(d, words, theirs, ours):
    """5.B25: below zero it is a very large number there."""
    if not isinstance(theirs, bytes) or not isinstance(ours, bytes) or b'space_available: 0\n' not in ours:
        return False
    return nsinfo_of_the_place(d, words, re.sub(rb'space_available: 1844674\d+\n', b'space_available: 0\n', theirs), ours)


def info_of_the_server(d, words, theirs, ours):
    """INFO: the same lines in the same order, plus one of ours."""
    return isinstance(theirs, bytes) and isinstance(ours, bytes) and [f for f in fields(ours) if f != 'extensions'] == fields(theirs)


def named(word):
    return word.split(b'\0')[0].decode()


def rotated(d):
    return d.current_file() > 0


EXCEPTIONS = {
    'clock': clock,
    'challenge is random': lambda d, w, t, o: w[0] == 'AUTH' and type(t) is type(o) is Status and len(t) == len(o) == 16,
    'listed times are signed there (5.A12)': lambda d, w, t, o: w[0] in ('SCAN', 'SCANX', 'RSCAN') and listing_is_signed(d, w, t, o),
    'pages end by time': lambda d, w, t, o: w[0] in ('SCAN', 'SCANX', 'RSCAN') and page_is_shorter(d, w, t, o),
    'NSINFO of the place': lambda d, w, t, o: w[0] == 'NSINFO' and nsinfo_of_the_place(d, w, t, o),
    'NSINFO space_available wraps there (5.B25)': lambda d, w, t, o: w[0] == 'NSINFO' and space_wraps(d, w, t, o),
    'INFO of the server': lambda d, w, t, o: w[0] == 'INFO' and info_of_the_server(d, w, t, o),
    'DEL with a time that is no number (7.4)': lambda d, w, t, o: w[0] == 'DEL' and len(w) == 3 and is_error(o, 'Invalid argument'),
    'HISTORY of user keys behind a rotation (5.B2)': lambda d, w, t, o: w[0] == 'HISTORY' and not d.sequential and rotated(d) and isinstance(o, list),
    'RSCAN over files without records (5.B4)': lambda d, w, t, o: w[0] == 'RSCAN' and rotated(d) and d.empty_files(),
    'DATA RAW of deletions and empty values (5.B3)': lambda d, w, t, o: w[0] == 'DATA' and isinstance(t, Error) and isinstance(o, list) and (o[3] == 1 or o[5] == b''),
    'DATA RAW where no record begins': lambda d, w, t, o: w[0] == 'DATA' and len(w) >= 4 and not d.aimed and isinstance(o, Error),
    'scan cursors of nobody (5.B24)': lambda d, w, t, o: w[0] in ('SCAN', 'SCANX', 'RSCAN') and len(w) > 1 and (d.place, w[1]) not in d.given and is_error(o, 'Invalid key format'),
    'history cursors of other keys': lambda d, w, t, o: w[0] == 'HISTORY' and len(w) == 3 and (d.place, w[1], w[2]) not in d.given and isinstance(o, Error),
    'the length of a key is taken modulo 256 there': lambda d, w, t, o: w[0] in ('HISTORY', 'KEYCUR') and len(w) > 1 and (len(w[1]) > 255 or not w[1]) and isinstance(o, Error),
    'extensions': lambda d, w, t, o: w[0] in ('SYNC', 'GETRANGE', 'BATCH', 'EVICT', 'CUT', 'SPOOL') and is_error(t, 'Command not supported'),
    PREFIX_RULE: lambda d, w, t, o: w[0] in PREFIXES and is_error(o, 'Command not supported'),
}


class Differential:
    def __init__(self, rng, mode, *options, of_ours=()):
        self.rng, self.mode = rng, mode
        options = options + (('--mode', mode) if mode != 'mixed' else ()) + ('--datasize', '524288')
        self.servers = [Peer('random-original', *options, tcp=True), Server('random', *options, *of_ours, tcp=True)]
        for s in self.servers:
            s.start()
        self.pairs = [self.connect(n) for n in range(CONNECTIONS)]
        self.places = ['default'] * CONNECTIONS
        self.cursors, self.histories = [b'\0' * 17], [b'\0' * 8]
        self.given = set()              # (namespace, cursor) of KEYCUR, (namespace, key, cursor) of HISTORY
        self.challenges = [None] * CONNECTIONS
        self.wrote = set()              # namespaces whose last file got a record
        self.compared, self.excused, self.failed = 0, collections.Counter(), 0
        self.aimed = False              # the DATA RAW at hand asks for a place where a record begins
        self.modes = {'default': mode == 'seq'}

    def connect(self, n):
        return [Raw(s.path) if n else Raw(('127.0.0.1', s.port)) for s in self.servers]

    # -- state that rules ask for

    @property
    def sequential(self):
        return self.modes.get(self.place, self.mode == 'seq')

    @property
    def place(self):
        return self.places[self.at]

    def index_sizes(self):
        """Number of each index file -> its size; nothing when the namespace is gone."""
        root = self.servers[1].file('index', self.place)
        entries = os.listdir(root) if os.path.isdir(root) else []
        return {int(e[1:]): os.path.getsize(os.path.join(root, e)) for e in entries if re.fullmatch('i[0-9]+', e)}

    def current_file(self):
        return max(self.index_sizes(), default=0)

    def empty_files(self):
        return 29 in self.index_sizes().values()

    def records(self):
        """(file, offset) of the records of a data file."""
        number = self.rng.randrange(self.current_file() + 1)
        path, out, at = self.servers[1].file('data', self.place, 'd%d' % number), [], 28
        if not os.path.exists(path):
            return [(0, 28)]
        with open(path, 'rb') as f:
            data = f.read()
        while at + 18 <= len(data):
            out.append((number, at))
            at += 18 + data[at] + struct.unpack_from('<I', data, at + 1)[0]
        return out + [(number, at)]

    # -- making commands

    def key(self):
        r = self.rng
        if self.sequential and r.random() < 0.9:
            return ident(r.randrange(self.next_id() + 2))
        return r.choice([b'k%d' % r.randrange(12), b'k%d' % r.randrange(12), b'\0\r\n', b'x' * 255, b'x' * 256, b'x' * 300, b'', b'none'])

    def next_id(self):
        return min(200, sum((size - 29) // 42 for size in self.index_sizes().values()))

    def value(self):
        r = self.rng
        return r.choice([b'', b'v', b'w' * r.randrange(40), r.randbytes(r.randrange(3000)), b'big' * 8000])

    def time(self):
        return self.rng.choice([b'1500000000', b'%d' % self.rng.randrange(1 << 32), b'0', b'-1', b'4294967297', b' 12x', b'soon'])

    def name(self):
        return self.rng.choice(NAMES + ['nosuch', 'x' * 128, 'x' * 129, 'a/b', '..', '.', '', 'A', 'a\0b']).encode()

    def hash(self):
        """An answer to this connection's challenge: one for each server, as they differ."""
        if not self.challenges[self.at] or self.rng.random() < 0.2:
            return self.rng.choice([b'0' * 40, b'short'])
        password = self.rng.choice(PASSWORDS)
        return [hashlib.sha1(('%s:%s' % (c, password)).encode()).hexdigest().encode() for c in self.challenges[self.at]]

    def words(self):
        r = self.rng
        makers = {
            'PING': lambda: [], 'TIME': lambda: [], 'INFO': lambda: [], 'DBSIZE': lambda: [], 'NSLIST': lambda: [], 'HOOKS': lambda: [], '*': lambda: [],
            'KSCAN': lambda: [self.key()], 'GET': lambda: [self.key()], 'EXISTS': lambda: [self.key()], 'CHECK': lambda: [self.key()],
            'LENGTH': lambda: [self.key()], 'KEYTIME': lambda: [self.key()], 'KEYCUR': lambda: [self.key()],
            'MGET': lambda: [self.key() for _ in range(r.randrange(5))],
            'SET': lambda: [b'' if self.sequential and r.random() < 0.5 else self.key(), self.value()] + ([self.time()] if r.random() < 0.8 else []),
            'SETX': lambda: [self.key(), self.value(), self.time()],
            'DEL': lambda: [self.key()] + ([b'%d' % r.randrange(1 << 33)] if r.random() < 0.5 else []),
            'SCAN': lambda: r.choice([[], [r.choice(self.cursors)], [b'short']]), 'SCANX': lambda: [r.choice(self.cursors)],
            'RSCAN': lambda: r.choice([[], [r.choice(self.cursors)]]),
            'HISTORY': lambda: [self.key()] + r.choice([[], [r.choice(self.histories)], [b'x']]),
            'INDEX': lambda: r.choice([[b'DIRTY'], [b'dirty', b'x'], [b'x' * r.choice([5, 255, 257])]]),
            'DATA': self.raw_words,
            'WAIT': lambda: r.choice([[b'NOSUCH'], [b'SET', b'99'], [b'SET', b'1' * 17], [], [b'NOSUCH', b'1', b'2']]),
            'AUTH': lambda: r.choice([[r.choice(PASSWORDS).encode()], [b'SECURE', b'CHALLENGE'], [b'SECURE', self.hash()], [b'PLAIN', b'x'], [b'x' * 129]]),
            'SELECT': lambda: [self.name()] + r.choice([[], [], [r.choice(PASSWORDS).encode()], [b'SECURE', self.hash()], [b'PLAIN', b'x'], [b'a', b'b', b'c'], [b'x' * 256]]),
            'NSNEW': lambda: [self.name()], 'NSDEL': lambda: [self.name()], 'NSINFO': lambda: [self.name()], 'RELOAD': lambda: [self.name()],
            'NSSET': lambda: [self.name()] + [w.encode() for w in r.choice([
                ('mode', 'seq'), ('mode', 'user'), ('mode', 'x'), ('lock', '1'), ('lock', '0'), ('freeze', '1'), ('freeze', '0'), ('freeze', '0'), ('lock', 'x'),
                ('maxsize', '20000'), ('maxsize', '0'), ('maxsize', '1k'), ('maxsize', '-1'), ('password', 'pw'), ('password', 'other'), ('password', '*'),
                ('public', '1'), ('public', '0'), ('worm', '1'), ('worm', '0'), ('worm', '0'), ('nosuch', '1'), ('Lock', '1'), ('x' * 257, '1'), ('maxsize', 'x' * 64)])],
            'NSJUMP': lambda: [],
            'COMMAND': lambda: [], 'HELLO': lambda: [b'3'], 'CLIENT': lambda: [b'SETNAME', b'x'], 'QUIT': lambda: [], 'CONFIG': lambda: [b'GET', b'save'],
            'GE': lambda: [self.key()], 'KEYT': lambda: [self.key()], 'PIN': lambda: [], 'dBs': lambda: [], '': lambda: [], 'SYNC': lambda: [], 'EVICT': lambda: [b'default', b'0', b'xxh3:' + b'0' * 32],
        }
        name = r.choices(list(makers), [{'SET': 14, 'GET': 6, 'DEL': 3, 'HISTORY': 4, 'SELECT': 3, 'NSSET': 4, 'KEYCUR': 3, 'SCAN': 3, 'RSCAN': 2, 'AUTH': 2}.get(k, 1) for k in makers])[0]
        self.aimed = False
        given = makers[name]()
        if r.random() < 0.04:
            given = given[:-1] if given and r.random() < 0.5 else given + [b'x']
        return [name] + given

    def raw_words(self):
        if self.rng.random() < 0.8:
            self.aimed = True
            number, at = self.rng.choice(self.records())
            return [b'RAW', b'%d' % number, b'%d' % at]
        return self.rng.choice([[b'RAW'], [b'RAW', b'0', b'29'], [b'RAW', b'77', b'28'], [b'x'], [b'raw', b'0', b'99999999']])

    # -- what would make the states differ by a fault of the original is not asked

    def sensible(self, words):
        name = words[0]
        if name == 'DEL' and len(words) == 3 and not words[2].isdigit():
            return False        # deletes there; see scripted()
        if name in ('NSJUMP', 'RELOAD') and (self.mode != 'user'):
            # ids in a file that was empty at a start or beside another empty one are lost there until the next start (5.B6)
            return name == 'NSJUMP' and (not self.sequential or self.place in self.wrote)
        return True

    def send(self, words):
        replies = []
        for n, c in enumerate(self.pairs[self.at]):
            replies.append(c(*[w[n] if isinstance(w, list) else w for w in words]))
        return replies

    def explained(self, words, theirs, ours):
        for name, rule in EXCEPTIONS.items():
            if rule(self, words, theirs, ours):
                self.excused[name] += 1
                return True
        return False

    def step(self):
        self.at = self.rng.randrange(CONNECTIONS)
        words = self.words()
        if not self.sensible(words):
            return
        self.compare(words)

    def compare(self, words):
        theirs, ours = self.send(words)
        a, b = self.pairs[self.at]
        self.compared += 1
        if a.seen != b.seen and not self.explained(words, theirs, ours):
            self.failed += 1
            if self.failed <= 8:
                ok(False, '%s in %s: %.150r' % (self.mode, self.place, words), 'theirs %.300r\nours   %.300r' % (a.seen, b.seen))
        self.follow(words, theirs, ours)
        for c in a, b:
            if c.seen.endswith(b'removed).\r\n') or c.seen.endswith(b'(closed)'):
                self.compared += 1
                if not (a.closed() and b.closed()):
                    ok(False, 'both close after %.100r' % words)
                self.pairs[self.at] = self.connect(self.at)
                self.places[self.at] = 'default'
                break

    def follow(self, words, theirs, ours):
        """What later commands make use of."""
        name = words[0]
        if name in ('SET', 'SETX') and isinstance(ours, bytes):
            self.wrote.add(self.place)
        elif name in ('SET', 'SETX', 'NSJUMP'):     # a SET that writes nothing may have rotated
            self.wrote.discard(self.place)
        elif name in ('NSDEL', 'RELOAD') and same(ours, OK):
            self.wrote.discard(named(words[1]))
        if name == 'SELECT' and same(ours, OK):
            self.places[self.at] = named(words[1])
        elif name == 'NSSET' and words[2:3] == [b'mode'] and same(ours, OK):
            self.modes[named(words[1])] = words[3] == b'seq'
        elif name == 'NSNEW' and same(ours, OK):
            self.modes[named(words[1])] = self.mode == 'seq'
        elif name == 'KEYCUR' and isinstance(ours, bytes):
            self.cursors = self.cursors[-20:] + [ours]
            self.given.add((self.place, ours))
        elif name == 'HISTORY' and isinstance(ours, list) and ours[0]:
            self.histories = self.histories[-20:] + [ours[0]]
            self.given.add((self.place, words[1], ours[0]))
        elif name == 'NSDEL' and same(ours, OK):
            self.given = {g for g in self.given if g[0] != named(words[1])}
        elif name == 'AUTH' and len(words) == 3 and isinstance(theirs, Status) and len(theirs) == 16:
            self.challenges[self.at] = (theirs, ours)

    def whole(self):
        """At the end: everything that each namespace lists."""
        for name in sorted(os.listdir(self.servers[1].file('data'))):
            if not os.path.isdir(self.servers[1].file('data', name)):
                continue
            self.at = 1
            for words in (['NSSET', name.encode(), 'password', '*'], ['NSSET', name.encode(), 'freeze', '0'], ['SELECT', name.encode()], ['DBSIZE'], ['NSINFO', name.encode()]):
                self.compare(words)
            self.places[1] = name
            theirs, ours = (listing(c, 'SCAN') for c in self.pairs[1])
            self.compared += len(ours)
            theirs = [[e[0], e[1], e[2] & 0xffffffff] for e in theirs]
            ok(same_but_times(theirs, ours), '%s: the same keys in namespace %s' % (self.mode, name), '%.500r\n%.500r' % (theirs, ours))
            for key, _, _ in ours:
                self.compare(['GET', key])

    def finish(self):
        ok(self.failed == 0, '%s: %d commands' % (self.mode, self.compared))
        for s in self.servers:
            s.stop()


# ---- what takes two connections, or is no command at all

PROTOCOL = [b'PING\r\n', b'+OK\r\n', b'*0\r\n', b'*x\r\n', b'*1025\r\n', b'*-1\r\n', b'*1\r\n:1\r\n', b'*1\r\n*1\r\n', b'*1\r\n$8388609\r\n', b'*1\r\n$-5\r\n',
            b'* 1\r\n$ 4\r\nPING\r\n', b'*1x\r\n$4x\r\nPINGxx', b'*1\n$4\nPING\r\n', b'*+1\r\n$4\r\nPING\r\n', b'*2\r\n$4\r\nPING\r\n$0\r\n\r\n']


def two_connections(d):
    rows = []
    for s in d.servers:
        a, b, c = Raw(s.path), Raw(s.path), Raw(s.path)
        out = [a('AUTH', ADMIN), a('NSNEW', 'two'), a('SELECT', 'two'), b('SELECT', 'two')]
        for watched, command in (('SET', ('SET', 'k', 'v')), ('set', ('SET', 'k', 'v')), ('*', ('PING',)), ('GET', ('GET', 'none')), ('DEL', ('DEL', 'none'))):
            a.send('WAIT', watched, '30000')
            out.append(a('TIME') is not None)               # it has begun
            out += [b(*command), a.reply()]
        a.send('WAIT', 'SET', '100')
        out += [a.reply()]                                  # the time is over
        out += [a('MASTER'), a('SET', 'mine', 'v', '1', '77'), a('GET', 'mine', '77'), a('PING', '77'), a('KEYTIME', 'mine', '77')]
        out += [a('NSSET', 'two', 'password', 'pw', '7'), b'password_raw: pw' in a('NSINFO', 'two', '7'), b'password_raw' in c('NSINFO', 'two')]
        out += [a('NSSET', 'two', 'public', '0', '7'), c('FLUSH'), c('SELECT', 'two', 'pw'), c('DEL', 'mine'), c('SET', 'mine', 'v')]
        rows.append(out)
        for x in a, b, c:
            x.close()
    d.compared += len(rows[0])
    ok(same(rows[0], rows[1]), '%s: WAIT and MASTER' % d.mode, '\n'.join(map(str, rows)))


def no_commands(d):
    for raw in PROTOCOL:
        first = []
        for s in d.servers:
            c = Raw(s.path)
            c.sock.sendall(raw)
            c.sock.shutdown(socket.SHUT_WR)
            try:
                first.append(c.reply())
            except Closed:
                first.append('closed')
            c.close()
        d.compared += 1
        ok(same(*first), '%s: %r' % (d.mode, raw), first)


total, excused = 0, collections.Counter()


def play(rng, mode, *options, of_ours=()):
    global total
    d = Differential(rng, mode, *options, of_ours=of_ours)
    for n in range(CONNECTIONS):
        d.at = n
        if n < 2:
            d.compare(['AUTH', ADMIN])
    for name in b'abc':
        d.at = 1
        d.compare(['NSNEW', bytes([name])])
    for _ in range(ROUNDS):
        d.step()
    d.at = 1
    d.compare(['AUTH', ADMIN])
    two_connections(d)
    no_commands(d)
    d.whole()
    d.finish()
    total += d.compared
    excused.update(d.excused)


def main():
    rng = seed()
    play(rng, 'user')
    before = excused[PREFIX_RULE]
    play(rng, 'user', '--admin', ADMIN, of_ours=['--prefix-commands'])
    equal(excused[PREFIX_RULE], before, '--prefix-commands: prefixes are names here too')
    play(rng, 'seq', '--admin', ADMIN)
    play(rng, 'mixed', '--admin', ADMIN, '--protect')
    play(rng, 'mixed', '--maxsize', '200000')
    note('%d replies compared; differences on purpose: %s' % (total, ', '.join('%s %d' % row for row in sorted(excused.items()))))


if not PEER:
    skip_all('no ZDB_PEER')
run(main)
