#!/usr/bin/python3
# The original server as a peer (ZDB_PEER=/path/to/zdb; without it everything is skipped): the same commands make the same bytes, each
# opens what the other wrote, locks exclude, what a killed server of ours left is whole for the original after --recover, rotation
# happens at the same byte, and either follows the other. SEED repeats a run.
import collections, os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from zdb_store import *

SIZE = 524288           # --datasize
compared = collections.Counter()


def agree(got, want, what, section, excused=lambda row: False):
    """Two sets of answers are the same but for rows that are `excused`."""
    wrong = [row for row in differences(got, want) if not excused(row)]
    compared[section] += len(set(got) | set(want))
    ok(not wrong, what, '\n'.join('%.60r: got %.150r, want %.150r' % row for row in wrong[:8]))


# ---- histories

def names_for(count):
    return [b'\0', b'a\r\nb', b'\xff' * 9, b'k' * 255, b'zdb\0x', b'$4\r\n'] + [b'key:%d' % i for i in range(count)]


def value(rng):
    size = rng.choice([0, 1, 5, 40, 300, 300, 4096, 20000, rng.randrange(120000)])
    return bytes([rng.randrange(256)]) * size if rng.random() < 0.3 else rng.randbytes(size)


def random_op(rng, store, names, ts):
    kind = rng.random()
    if store.sequential:
        key = ident(rng.randrange(store.next + 1))
    else:
        key = rng.choice(names)
    if kind < 0.03 and key in store.chains:
        return 'SET', key, store.chains[key][-1][0], ts         # unchanged
    if kind < 0.70:
        return 'SET', b'' if store.sequential and (kind < 0.40 or key not in store.chains) else key, value(rng), ts
    if kind < 0.96:
        return 'DEL', key, ts
    return ('NSJUMP',)


class History:
    """Grows a model by commands with fixed times."""

    def __init__(self, rng, sequential):
        self.rng, self.store, self.names, self.clock = rng, Store(sequential), names_for(60), 1500000000

    def branch(self):
        other = History(self.rng, self.store.sequential)
        other.store.chains, other.store.next, other.store.used = dict((k, list(v)) for k, v in self.store.chains.items()), self.store.next, set(self.store.used)
        other.clock = self.clock
        return other

    def insert(self):
        op = ('SET', b'' if self.store.sequential else b'new:%d' % self.clock, b'new', b'%d' % self.clock)
        return [(op, self.store.apply(op))]

    def grow(self, count, *last):
        """[(command, expected reply)]. Between two rotations is a record: the original loses ids behind files without one (5.B6)."""
        ops = []
        for _ in range(count):
            op = random_op(self.rng, self.store, self.names, b'%d' % self.clock)
            self.clock += self.rng.randrange(3)
            if op[0] == 'NSJUMP' and (not ops or ops[-1][0][0] != 'SET' or ops[-1][1] is None):
                continue
            ops.append((op, self.store.apply(op)))
        return ops + [(op, self.store.apply(op)) for op in last]


def play(s, name, ops, what, section):
    c = enter(s, name)
    got = []
    for at in range(0, len(ops), 8):
        c.sock.sendall(b''.join(c.pack(*op) for op, _ in ops[at:at + 8]))
        got += [c.reply() for _ in ops[at:at + 8]]
    c.close()
    compared[section] += len(ops)
    wrong = [(op[:2], reply, want) for (op, want), reply in zip(ops, got) if not same(reply, want)]
    ok(not wrong, what, '\n'.join('%.60r: got %.100r, want %.100r' % row for row in wrong[:5]))


def enter(s, name):
    c = s.client()
    assert same(c('SELECT', name), OK)
    return c


# ---- answers

def inserted_later(s, name):
    """Keys with a version whose record names data file 0 in a later index file: the original reads their history there (5.B2)."""
    out = set()
    for (letter, number), data in files(s, name).items():
        if letter == 'i' and number:
            out |= {data[at + 34:at + 34 + klen] for at, klen, f in index_records(data) if f[4] == 0}
    return out


def has_empty_file(s, name):
    return any(letter == 'i' and len(data) == 29 for (letter, _), data in files(s, name).items())


def answers_as(s, store, name, what, section):
    """Everything a namespace answers is what the model says. Returns the cursors of all live keys."""
    original = isinstance(s, Peer)
    foreign = inserted_later(s, name) if original and not store.sequential else ()
    lost = original and has_empty_file(s, name)        # walking backwards it loses its way at a file without records (5.B4)
    c = enter(s, name)

    def excused(row):
        question = row[0]
        return (question[0] == 'HISTORY' and question[1] in foreign) or (question == 'RSCAN' and lost)

    agree(look(c, name, store.keys(), store.sequential), store.answers(), what, section, excused)
    cursors = {key: c('KEYCUR', key) for key in store.chains}
    live, wrong = list(store.chains), []
    for at in range(0, len(live), 1 + len(live) // 8):
        page = c('SCAN', cursors[live[at]])
        listed = [] if same(page, Error('No more data')) else [e[0] for e in page[1]]
        if listed != live[at + 1:][:len(listed)] or bool(listed) != bool(live[at + 1:]):
            wrong.append((live[at], listed[:3], live[at + 1:][:3]))
    ok(not wrong, 'SCAN goes on behind the cursors', wrong[:3])
    c.close()
    return cursors


def first_record(s, ops, section):
    """What the original inserts into a sequential file that was empty when it started, it finds only after another start (5.B6)."""
    play(s, 'n', ops, 'a first record', section)
    equal(s.stop(), 143, 'stop')
    s.start()


# ---- A: bytes

def same_files(ours, theirs, name, sequential, what):
    mine, other = files(ours, name), files(theirs, name)
    compared['A: files'] += len(mine)
    problems = [] if set(mine) == set(other) else ['files: %s and %s' % (sorted(mine), sorted(other))]
    for letter, number in sorted(set(mine) & set(other)):
        a, b = mine[letter, number], other[letter, number]
        if letter == 'i':
            b = with_true_numbers(b, number, sequential)
        if a != b:
            at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
            problems.append('%s%d: %d and %d bytes, from %d on: %s / %s' % (letter, number, len(a), len(b), at, a[at:at + 24].hex(), b[at:at + 24].hex()))
    ok(not problems, what, '\n'.join(problems[:6]))
    descriptors = []
    for s in ours, theirs:
        with open(s.file('index', name, 'zdb-namespace'), 'rb') as f:
            data = f.read()
        descriptors.append(data[:15 + data[4] + data[5]])
    equal(descriptors[0], descriptors[1], 'and descriptor')


def set_up(s):
    c = s.client()
    steps = [('NSNEW', 'n'), ('NSSET', 'n', 'password', 'a long password'), ('NSSET', 'n', 'password', 'pw'), ('NSSET', 'n', 'password', '*'), ('NSNEW', 'empty')]
    steps += [('NSSET', 'empty', *words) for words in (('password', 'pw'), ('public', '0'), ('maxsize', '123456'), ('worm', '1'))]
    equal([c(*step) for step in steps], [OK] * len(steps), 'two namespaces')


def same_bytes(rng, mode):
    """Three lives of both servers. Returns them, stopped, and the history."""
    options = ('--mode', mode, '--datasize', str(SIZE))
    ours, theirs = Server('bytes', *options), Peer('bytes-original', *options)
    h = History(rng, mode == 'seq')
    big, key = rng.randbytes(8 << 20), (lambda name: b'' if mode == 'seq' else name)
    for life in range(3):
        last = [('SET', key(b'big'), big, b'1500000001'), ('SET', key(b'big2'), big[:SIZE + 1], b'1500000002')] if life == 0 else [('NSJUMP',)] * life
        first = h.insert() if life else []
        ops = h.grow(400, *last)
        cursors = []
        for s, who in (ours, 'ours'), (theirs, 'the original'):
            s.start()
            if life == 0:
                set_up(s)
            else:
                first_record(s, first, 'A: replies')
            play(s, 'n', ops, '%s, life %d: %d commands to %s' % (mode, life, len(ops), who), 'A: replies')
            cursors.append(answers_as(s, h.store, 'n', 'and everything it answers', 'A: answers'))
        agree(cursors[0], cursors[1], 'the same cursors from both', 'A: answers')
        equal([s.stop() for s in (ours, theirs)], [143, 143], 'both stop')
        same_files(ours, theirs, 'n', mode == 'seq', 'the same files')
        same_files(ours, theirs, 'empty', mode == 'seq', 'also of an empty namespace')
    return ours, theirs, h


# ---- B, C: each other's directories

def changed_wrongly(before, after, sequential):
    """Where files that existed were changed in another way than updates and deletions change them."""
    wrong = []
    for (letter, number), old in before.items():
        new, allowed = after.get((letter, number), b''), set()
        if letter == 'i':
            for at, _, _ in index_records(old):
                allowed |= {*range(at + 1, at + 9), *range(at + 13, at + 34)} if sequential else {at + 13}
        elif number == max(n for kind, n in before if kind == 'd'):
            allowed = set(range(16, 24))        # our stamp, while we have it open
        if len(new) < len(old) or any(old[i] != new[i] and i not in allowed for i in range(len(old))):
            wrong.append('%s%d' % (letter, number))
    return wrong


def clean(s, since):
    said = s.text()[since:]
    words = ('DANGER', 'discard', 'unsupported', 'wrong magic', 'lost') if isinstance(s, Peer) else ('not available', 'cut=[1-9]', 'lost=[1-9]', 'restored=[1-9]', 'gaps=[1-9]')
    return not any(re.search(word, said) for word in words)


def visit(s, h, what, section):
    """Opens what lies there, answers, goes on, stops."""
    since = len(s.text()) if os.path.exists(s.log) else 0
    s.start()
    answers_as(s, h.store, 'n', what + ': every answer', section)
    first_record(s, h.insert(), section)
    before = files(s, 'n')
    play(s, 'n', h.grow(150), 'it goes on', section)
    answers_as(s, h.store, 'n', 'every answer then', section)
    c = s.client()
    equal([c('SELECT', 'empty', 'pw'), c('SET', 'k', 'v' * 200000), c('SELECT', 'empty')],
          [OK, Error('No space left on this namespace'), Error('Namespace protected and private')], 'passwords and limits hold')
    equal(info(c, 'empty')['worm'], 'yes', 'and worm')
    equal(sorted(c('NSLIST')), [b'default', b'empty', b'n'], 'no file of the other is taken for a namespace')
    c.close()
    equal(s.stop(), 143, 'it stops')
    wrong = changed_wrongly(before, files(s, 'n'), h.store.sequential)
    ok(not wrong, 'files were changed only as 1.7 and 1.8 allow', wrong)
    ok(clean(s, since), 'without a complaint', s.text()[since:][-1500:])


def back_and_forth(source, other, h, section):
    """`other` opens what `source` wrote, `source` the result, and once more."""
    copy(source, other)
    h = h.branch()
    visit(other, h, '%s, first visit' % section, section)
    for n in range(2):
        copy(other, source)
        visit(source, h, '%s, back %d' % (section, n), section)
        copy(source, other)
        visit(other, h, '%s, again %d' % (section, n), section)


def directories(rng):
    for mode in 'user', 'seq':
        ours, theirs, h = same_bytes(rng, mode)
        back_and_forth(theirs, Server('guest', *ours.options), h, 'B: original to ours')
        back_and_forth(ours, Peer('guest-original', *ours.options), h, 'C: ours to original')


# ---- D: locks

def refuses(s):
    try:
        s.start()
    except RuntimeError:
        code = s.process.wait(LIMIT)
        s.process = None
        return code
    return None


def locks():
    a, b = Server('locks', '--mode', 'user'), Peer('locks-original', '--mode', 'user')
    for holder, guest in (a, b), (b, a):
        shutil.rmtree(guest.dir)
        os.symlink(holder.dir, guest.dir)
        guest.path = guest.file('sock-guest')
        holder.start()
        code = refuses(guest)
        compared['D: locks'] += 1
        ok(code == 1 and 'already using' in guest.text(), '%s does not start beside %s' % (type(guest).__name__, type(holder).__name__), (code, guest.text()[-500:]))
        equal(holder.stop(), 143, 'the holder stops')
        guest.start()
        equal(guest.client()('SET', 'k', 'v' + type(guest).__name__), b'k', 'then it does')
        equal(guest.stop(), 143, 'and stops')
        os.unlink(guest.dir)
        os.mkdir(guest.dir)
        guest.path = guest.file('sock')


# ---- H: rotation

def rotation():
    """Payloads around the limit: which file each record lands in."""
    for mode in 'user', 'seq':
        options = ('--mode', mode, '--datasize', str(SIZE))
        ours, theirs = Server('rotation', *options), Peer('rotation-original', *options)
        shapes = []
        for gap in range(-2, 3):
            first = 1000
            size = 28 + 18 + 8 + first          # header, record header, key of 8 bytes, payload
            shapes.append([first, SIZE - size + gap, 1, 1])
        shapes += [[SIZE, 1], [SIZE - 28, 1], [SIZE - 27, 1], [SIZE + 1, SIZE + 1, 0], [8 << 20, 1]]
        seen = []
        for s in ours, theirs:
            c = s.start().client()
            rows = []
            for n, shape in enumerate(shapes):
                c('NSNEW', 's%d' % n)
                c('SELECT', 's%d' % n)
                for at, size in enumerate(shape):
                    c('SET', b'' if mode == 'seq' else b'key%05d' % at, b'x' * size, '1500000000')
                    rows.append((n, at, info(c, 's%d' % n)['data_current_id'], info(c, 's%d' % n)['data_current_offset']))
                if mode == 'user':
                    for at in range(len(shape)):
                        c('DEL', b'key%05d' % at, '1500000000')
                    c('SET', 'same', 'v', '1')
                    c('SET', 'same', 'v', '1')
                    rows.append((n, 'deleted', info(c, 's%d' % n)['data_current_id'], info(c, 's%d' % n)['data_current_offset']))
                c('SELECT', 'default')
            seen.append(rows)
            s.stop()
        compared['H: rotation'] += len(seen[0])
        equal(seen[0], seen[1], '%s: rotation at the same records (%d sizes)' % (mode, len(seen[0])))
        for n in range(len(shapes)):
            same_files(ours, theirs, 's%d' % n, mode == 'seq', 'shape %d' % n)
    by_age()


def by_age():
    ours, theirs = Server('age', '--mode', 'user', '--rotate', '1'), Peer('age-original', '--mode', 'user', '--rotate', '1')
    for s in ours, theirs:
        c = s.start().client()
        c('NSNEW', 'idle')
        c('SET', 'k', 'v', '1500000000')
        ok(wait_until(lambda: info(c, 'default')['data_current_id'] == '1'), '%s: --rotate closes what was written' % type(s).__name__)
        c('SET', 'k', 'w', '1500000001')
        ok(wait_until(lambda: info(c, 'default')['data_current_id'] == '2'), 'again')
        equal(info(c, 'idle')['data_current_id'], '0', 'but not what nobody touched')
        s.stop()
    same_files(ours, theirs, 'default', False, 'the same files')
    compared['H: rotation'] += 6


# ---- after kill -9

def killed(rng, mode):
    """Ours is killed in the middle of a history; after --recover the original answers all of it."""
    options = ('--mode', mode, '--datasize', str(SIZE))
    ours, theirs = Server('killed', *options), Peer('killed-original', *options)
    h = History(rng, mode == 'seq')
    for life in range(3):
        c = ours.start().client()
        if life == 0:
            c('NSNEW', 'n')
        play(ours, 'n', h.grow(200), '%s: commands, then kill -9' % mode, 'killed')
        ours.kill()
        copy(ours, theirs)
        done = subprocess.run([QSFS, 'zdb', '--recover', '--data', theirs.file('data'), '--index', theirs.file('index'), '--mode', mode], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT)
        equal(done.returncode, 0, '--recover')
        theirs.start()
        answers_as(theirs, h.store, 'n', 'the original answers everything', 'killed')
        aside = h.branch()
        play(theirs, 'n', aside.grow(50), 'and goes on', 'killed')
        theirs.stop()


def killed_in_a_pipeline(rng, mode):
    """The same in the middle of a pipeline that nobody reads: whatever was kept, both answer it alike."""
    options = ('--mode', mode, '--datasize', str(SIZE))
    for life in range(4):
        writer, ours, theirs = Server('cut', *options), Server('cut-read', *options), Peer('cut-original', *options)
        h = History(rng, mode == 'seq')
        c = writer.start().client()
        equal([c('NSNEW', 'n'), c('SELECT', 'n')], [OK, OK], 'a namespace')
        data = b''.join(c.pack(*op) for op, _ in h.grow(400))
        c.sock.settimeout(0.5)
        try:
            c.sock.sendall(data[:rng.randrange(len(data))])
        except OSError:
            pass                # its replies fill the connection: it takes no more
        writer.kill()
        for s in ours, theirs:
            copy(writer, s)
        done = subprocess.run([QSFS, 'zdb', '--recover', '--data', theirs.file('data'), '--index', theirs.file('index'), '--mode', mode], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT)
        equal(done.returncode, 0, '%s, life %d: killed in a pipeline, recovered' % (mode, life))
        foreign, lost = inserted_later(theirs, 'n') if mode == 'user' else (), has_empty_file(theirs, 'n')
        answers = []
        for s in ours, theirs:
            c = enter(s.start(), 'n')
            answers.append(look(c, 'n', h.store.keys(), h.store.sequential))
            c.close()
            s.stop()
        agree(answers[1], answers[0], 'the original and a recovering server of ours answer alike', 'killed',
              lambda row: (row[0][0] == 'HISTORY' and row[0][1] in foreign) or (row[0] == 'RSCAN' and lost))


# ---- after a compaction

def compacted(rng, mode):
    """What `zdb compact` leaves of a directory, the original serves and goes on with, but for the versions that are gone."""
    options = ('--mode', mode, '--datasize', str(SIZE))
    ours, theirs = Server('compacted', *options), Peer('compacted-original', *options)
    h = History(rng, mode == 'seq')
    equal(ours.start().client()('NSNEW', 'n'), OK, '%s: a namespace' % mode)
    play(ours, 'n', h.grow(400), 'a history', 'compacted')
    equal(ours.stop(), 143, 'stop')
    before = sum(len(data) for data in files(ours, 'n').values())
    done = subprocess.run([QSFS, 'zdb', 'compact', ours.dir], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT)
    after = sum(len(data) for data in files(ours, 'n').values())
    ok(done.returncode == 0 and after < before, 'compacted', '%d -> %d bytes\n%s' % (before, after, done.stdout.decode()))
    for s, source in (theirs, ours), (ours, theirs):
        copy(source, s)
        lost = s is theirs and has_empty_file(s, 'n')       # index files that gave back everything: its RSCAN ends there (5.B4)
        c = enter(s.start(), 'n')
        agree(look(c, 'n', h.store.keys(), h.store.sequential), h.store.answers(), '%s answers everything' % type(s).__name__, 'compacted',
              lambda row: row[0][0] == 'HISTORY' or (row[0] == 'RSCAN' and lost))
        c.close()
        play(s, 'n', h.grow(60), 'and goes on', 'compacted')
        s.stop()


# ---- J: a follower

def follow(master, follower, name):
    """What the original's incremental tool does: DATA RAW at the follower's own place, played there. Number of steps, or the error."""
    m, f, steps = enter(master, name), enter(follower, name), 0
    while True:
        a, b = (tuple(int(info(c, name)[k]) for k in ('data_current_id', 'data_current_offset')) for c in (m, f))
        if a == b:
            return steps
        if b > a or steps > 5000:
            return 'the follower is at %s, the master at %s' % (b, a)
        raw = m('DATA', 'RAW', *b)
        if same(raw, Error('EOF')):
            got = f('NSJUMP')
        elif isinstance(raw, Error):
            return str(raw)
        elif raw[3] & 1:
            got = f('DEL', raw[0], raw[4])
        else:
            got = f('SET', raw[0], raw[5] or b'', raw[4])
        if isinstance(got, Error) or got is None:
            return '%.200r at %s: %s' % (raw, b, got)
        steps += 1


def followers(rng):
    for master_is_ours in True, False:
        make = (Server, Peer) if master_is_ours else (Peer, Server)
        options = ('--mode', 'user', '--datasize', str(SIZE))
        master, follower = make[0]('master', *options), make[1]('follower', *options)
        h = History(rng, False)
        ops = h.grow(300, ('NSJUMP',), ('SET', b'last', b'v', b'1500009999'))
        if not master_is_ours:
            # The original's DATA RAW shows neither deletions nor empty values (5.B3)
            h = History(rng, False)
            ops = [op for op, _ in History(rng, False).grow(400) if op[0] == 'NSJUMP' or (op[0] == 'SET' and op[2])]
            ops = [(op, h.store.apply(op)) for op in ops]
        for s in master, follower:
            s.start().client()('NSNEW', 'n')
        play(master, 'n', ops[:len(ops) // 2], 'a history on %s' % make[0].__name__, 'J: follower')
        steps = follow(master, follower, 'n')
        ok(isinstance(steps, int) and steps > 50, '%s follows' % make[1].__name__, steps)
        play(master, 'n', ops[len(ops) // 2:], 'which goes on', 'J: follower')
        more = follow(master, follower, 'n')
        ok(isinstance(more, int) and more > 50, 'and it follows on', more)
        compared['J: follower'] += steps + more if isinstance(steps, int) and isinstance(more, int) else 0
        for s in master, follower:
            answers_as(s, h.store, 'n', '%s answers everything' % type(s).__name__, 'J: follower')
            s.stop()
        mine, other = files(master, 'n'), files(follower, 'n')
        equal([k for k in mine if k[0] == 'd' and mine[k] != other.get(k)], [], 'the data files are the same')


def main():
    rng = seed()
    directories(rng)
    locks()
    rotation()
    for mode in 'user', 'seq':
        killed(rng, mode)
        killed_in_a_pipeline(rng, mode)
        compacted(rng, mode)
    followers(rng)
    note('%d comparisons: %s' % (sum(compared.values()), ', '.join('%s %d' % row for row in sorted(compared.items()))))


if not PEER:
    skip_all('no ZDB_PEER')
run(main)
