#!/usr/bin/python3
# Hooks in numbers: two servers with one hook program, rotations and absent segments at the same time, the bounds on how many run, a hook that does not
# want to end, stops and kills while hooks run.
import collections, os, re, sys, threading
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from zdb_lib import *

OK = Status('OK')
SEGMENT = 524288
RUNNING_MAX, MISSING_MAX = 32, 16       # of one server: docs/zdb-differences.md

# One program for all. What it does for a server lies beside that server's data: one line per begin and end, appended in one write; it waits while
# hold-TYPE exists; jump-data keeps the closed file, missing-data brings it back.
HOOK = r'''#!/bin/bash
D=${ZDB_DATA%/data}
t=$1 i=$2
shift 2
echo "begin $t $i $1 $BASHPID" >>"$D/calls"
[ -e "$D/deaf-$t" ] && trap '' TERM
while [ -e "$D/hold-$t" ]; do sleep 0.1; done
kept() { local d=${1%/*}; echo "$D/kept/${d##*/}.${1##*/}"; }
case $t in
jump-data) cp "$1" "$(kept "$1")" ;;
missing-data) cp "$(kept "$1")" "$1.tmp" && mv "$1.tmp" "$1" ;;
esac
code=$?
[ "$t" = jump-data ] || [ "$t" = missing-data ] || code=0
echo "end $t $i $1 $BASHPID" >>"$D/calls"
exit $code
'''


class Hooked(Server):
    def __init__(self, name, program, *options):
        super().__init__(name, '--hook', program, '--mode', 'user', '--datasize', str(SEGMENT), *options)
        os.mkdir(self.file('kept'))

    def touch(self, name):
        open(self.file(name), 'w').close()

    def remove(self, name):
        os.unlink(self.file(name))

    def calls(self):
        """[(begin or end, type, instance, first argument, pid)]"""
        try:
            with open(self.file('calls')) as f:
                return [tuple(line.split(' ')) for line in f.read().splitlines()]
        except FileNotFoundError:
            return []

    def count(self, what, kind):
        return sum(c[0] == what and c[1] == kind for c in self.calls())

    def saw(self, what, kind, count):
        return wait_until(lambda: self.count(what, kind) >= count)


def program():
    place = Server('program')
    path = place.file('hook')
    with open(path, 'w') as f:
        f.write(HOOK)
    os.chmod(path, 0o755)
    return path


def value(ns, n):
    return b'%s %d ' % (ns.encode(), n) * 20000     # two in a segment


def select(s, ns):
    c = s.client()
    assert same(c('SELECT', ns), OK)
    return c


def writer(s, ns, count, wrong):
    c = select(s, ns)
    for n in range(count):
        if not same(c('SET', 'key%d' % n, value(ns, n)), b'key%d' % n):
            wrong.append((ns, n))


def reader(s, ns, count, wrong):
    c = select(s, ns)
    for n in range(count):
        got = c('GET', 'key%d' % n)
        if got != value(ns, n):
            wrong.append((ns, n, got if isinstance(got, Error) else 'other bytes'))


def all_at_once(jobs):
    threads = [threading.Thread(target=job[0], args=job[1:]) for job in jobs]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def in_order(s, ns):
    """jump-index N ends before jump-data N and jump-index N+1 begin."""
    place, events = '/%s/' % ns, []
    for what, kind, _, path, _ in s.calls():
        if kind in ('jump-index', 'jump-data') and place in path:
            events.append((what, kind, int(path.rsplit('/', 1)[1][1:])))
    at = {e: i for i, e in enumerate(events)}
    last = max((e[2] for e in events), default=-1)
    return len(at) == len(events) == 4 * (last + 1) and all(
        at['end', 'jump-index', n] < at['begin', 'jump-data', n] and (n == last or at['end', 'jump-index', n] < at['begin', 'jump-index', n + 1]) for n in range(last + 1))


def two_servers(path):
    note('two servers, one program')
    pair, names, count = [Hooked('two', path).start() for _ in range(2)], ['n%d' % n for n in range(4)], 12
    for s in pair:
        c = s.client()
        equal([c('NSNEW', ns) for ns in names], [OK] * 4, 'four namespaces')
    wrong = []
    all_at_once([(writer, s, ns, count, wrong) for s in pair for ns in names])
    equal(wrong, [], 'writes that rotate, in all at the same time')
    closed = {(s, ns): int(re.search('data_current_id: ([0-9]+)', s.client()('NSINFO', ns).decode()).group(1)) for s in pair for ns in names}
    total = [sum(n for (owner, _), n in closed.items() if owner is s) for s in pair]
    ok(all(s.saw('end', 'jump-data', n) for s, n in zip(pair, total)) and min(total) >= 8, 'each rotation calls its hooks', total)
    for s, n in zip(pair, total):
        equal([s.count('end', kind) for kind in ('jump-index', 'jump-data', 'namespace-created')], [n, n, 4], 'once')
        equal({c[2] for c in s.calls()}, {'unix://' + s.path}, 'for this server alone')
        ok(all(in_order(s, ns) for ns in names), 'in order')
    for (s, ns), n in closed.items():
        for number in range(n):
            os.unlink(s.file('data', ns, 'd%d' % number))
        s.client()('RELOAD', ns)
    # readers of what is gone, twice each, beside writers that rotate again
    all_at_once([(reader, s, ns, count, wrong) for s in pair for ns in names for _ in range(2)] + [(writer, s, 'default', count, wrong) for s in pair])
    equal(wrong, [], 'reads of absent segments beside writes that rotate: every value')
    for s, n in zip(pair, total):
        asked = collections.Counter(c[3] for c in s.calls() if c[0] == 'begin' and c[1] == 'missing-data')
        ok(len(asked) == n and set(asked.values()) == {1}, 'each absent segment was asked for once', asked)
    all_at_once([(s.stop,) for s in pair])
    for s in pair:
        equal(s.count('end', 'namespace-closing'), 5, 'both stop, with a hook for each namespace')


def bounds(path):
    note('how many run')
    s = Hooked('bounds', path, '--missing-limit', '60s').start()
    c, names = s.client(), ['n%02d' % n for n in range(RUNNING_MAX + 8)]
    for ns in names:
        c('NSNEW', ns)
    s.saw('end', 'namespace-created', len(names))
    s.touch('hold-jump-index')
    for ns in names:
        x = select(s, ns)
        replies = [x('SET', 'k', value(ns, 0)), x('NSJUMP')]
        assert replies == [b'k', OK], replies
        x.close()
    s.saw('begin', 'jump-index', RUNNING_MAX)
    rows = c('HOOKS')
    running = [r for r in rows if r[0] == b'jump-index' and r[4] == 0]
    ok(len(running) == RUNNING_MAX == s.count('begin', 'jump-index') and all(r[2] > 1 and r[5] == 0 for r in running), '%d run, the others wait' % RUNNING_MAX, len(running))
    x = select(s, names[0])
    os.unlink(s.file('data', names[-1], 'd0'))
    equal([x('SET', 'l', 'v'), x('GET', 'l'), c('PING')], [b'l', b'v', Status('PONG')], 'nobody waits for them')
    s.remove('hold-jump-index')
    # the last one's segment is gone before its jump-data comes: that hook fails, and says so
    ok(s.saw('end', 'jump-data', len(names)), 'then all have their turn')
    ok(wait_until(lambda: len([r for r in c('HOOKS') if r[0] == b'jump-data' and r[4] > 0]) == len(names)), 'and end')
    equal([r[5] > 0 for r in c('HOOKS') if r[0] == b'jump-data'].count(True), 1, 'HOOKS shows the one that failed')
    absent = names[:MISSING_MAX + 8]
    for ns in absent:
        os.unlink(s.file('data', ns, 'd0'))
        c('RELOAD', ns)
    s.touch('hold-missing-data')
    readers = [select(s, ns) for ns in absent]
    for r in readers:
        r.send('GET', 'k')
    s.saw('begin', 'missing-data', MISSING_MAX)
    equal(c('PING'), Status('PONG'), 'others are served')
    equal(s.count('begin', 'missing-data'), MISSING_MAX, '%d segments are fetched at a time' % MISSING_MAX)
    s.remove('hold-missing-data')
    ok(all(r.reply() == value(ns, 0) for r, ns in zip(readers, absent)), 'and all come in the end')
    s.stop()


def deaf(path):
    note('a hook that does not listen')
    s = Hooked('deaf', path, '--hook-limit', '1s').start()
    c = s.client()
    s.touch('hold-jump-index')
    s.touch('deaf-jump-index')
    c('SET', 'k', 'v')
    c('NSJUMP')
    s.saw('begin', 'jump-index', 1)
    pid = int(s.calls()[-1][4])
    ok(wait_until(lambda: not os.path.exists('/proc/%d' % pid)), 'is killed behind its limit')
    ok(wait_until(lambda: [r[5] for r in c('HOOKS') if r[0] == b'jump-index' and r[4] > 0] == [0]), 'HOOKS shows 0 for a hook that was killed, as 0-db does')
    ok(s.saw('end', 'jump-data', 1), 'jump-data comes all the same')
    equal(c('INDEX', 'DIRTY'), [], 'nothing was dirty')
    s.stop()


def stops(path):
    note('stops while hooks run')
    s = Hooked('stops', path, '--hook-grace', '500ms').start()
    c = s.client()
    names = ['n%d' % n for n in range(RUNNING_MAX + 4)]
    for ns in names:
        c('NSNEW', ns)
    s.saw('end', 'namespace-created', len(names))
    s.touch('hold-jump-index')
    for ns in names:
        x = select(s, ns)
        x('SET', 'k', value(ns, 1))
        x('NSJUMP')
        x.close()
    s.saw('begin', 'jump-index', RUNNING_MAX)
    begin = time.monotonic()
    equal(s.stop(), 143, 'SIGTERM')
    ok(time.monotonic() - begin < 20, 'ends it within the grace', time.monotonic() - begin)
    s.start()
    equal([select(s, ns)('GET', 'k') == value(ns, 1) for ns in names], [True] * len(names), 'another one starts at once beside its hooks, and has everything')
    x = select(s, names[0])
    x('SET', 'k', 'w')
    x('NSJUMP')
    equal(s.kill(), -9, 'kill -9 while hooks run')
    s.start()
    equal(select(s, names[0])('GET', 'k'), b'w', 'the same')
    s.remove('hold-jump-index')
    equal(s.stop(), 143, 'stop')


def main():
    path = program()
    two_servers(path)
    bounds(path)
    deaf(path)
    stops(path)


run(main)
