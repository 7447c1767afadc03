#!/usr/bin/python3
# Hook programs: arguments and order of the original, but beside the server: who does not need a hook's result does not wait for it.
import os, re, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from zdb_lib import *

OK = Status('OK')

# Writes one line per call: begin, type, instance, [argument]...; then does what files in the server's directory say: waits while
# hold-TYPE exists, runs do-TYPE, ends with the code in exit-TYPE; writes an end line.
HOOK = r'''#!/bin/bash
D=${0%/*}
line=begin
for a in "$1" "$2"; do line="$line $a"; done
t=$1; shift 2
for a in "$@"; do line="$line [$a]"; done
echo "$line" >>"$D/calls"
[ "$t" = fds ] || ls -l /proc/self/fd | sed -n 's/.* \([0-9]*\) -> \(.*\)/\1 \2/p' | grep -v -e 'pipe:' -e /proc/ | sed "s/^/$t /" >>"$D/fds"
cut -d' ' -f6 /proc/self/stat >"$D/session-$t"
env | grep ^ZDB_ | grep -v ^ZDB_PEER= | sort >"$D/env"
while [ -e "$D/hold-$t" ]; do read -t 0.02 <> <(:) ; done
[ -x "$D/do-$t" ] && "$D/do-$t" "$@"
code=$(cat "$D/exit-$t" 2>/dev/null || echo 0)
echo "end $t" >>"$D/calls"
exit "$code"
'''


class Hooked(Server):
    def __init__(self, name, *options):
        super().__init__(name, '--hook', '{dir}/hook', *options)
        self.write('hook', HOOK)
        os.chmod(self.file('hook'), 0o755)

    def write(self, name, text):
        with open(self.file(name), 'w') as f:
            f.write(text)

    def remove(self, name):
        os.unlink(self.file(name))

    def calls(self):
        try:
            with open(self.file('calls')) as f:
                lines = f.read().splitlines()
        except FileNotFoundError:
            return []
        return [line.replace(self.dir, 'D').replace('unix://D/sock', 'I') for line in lines]

    def saw(self, line):
        return wait_until(lambda: line in self.calls())

    def forget(self):
        if os.path.exists(self.file('calls')):
            os.unlink(self.file('calls'))


def life():
    note('start, namespaces, stop')
    s = Hooked('hooks', '--mode', 'user', '--datasize', '524288').start()
    c = s.client()
    equal(s.calls(), ['begin namespaces-init I [D/index] [D/data]', 'end namespaces-init', 'begin ready I', 'end ready'], 'start: restore first, then ready')
    with open(s.file('env')) as f:
        equal(f.read().split(), ['ZDB_DATA=%s/data' % s.dir, 'ZDB_INDEX=%s/index' % s.dir], 'hooks learn where things are')
    s.forget()
    c('NSNEW', 'one')
    ok(s.saw('end namespace-created'), 'NSNEW')
    c('NSSET', 'one', 'maxsize', '0')
    ok(s.saw('end namespace-updated'), 'NSSET')
    c('RELOAD', 'one')
    ok(s.saw('end namespace-reloaded'), 'RELOAD')
    c('NSDEL', 'one')
    ok(s.saw('end namespace-deleted'), 'NSDEL')
    equal([x for x in s.calls() if x.startswith('begin')],
          ['begin namespace-%s I [one]' % x for x in ('created', 'updated', 'reloaded', 'deleted')], 'each with the name')
    s.forget()
    c('SET', 'k', 'v')
    c('NSJUMP')
    ok(s.saw('end jump-data'), 'NSJUMP')
    equal(s.calls(), ['begin jump-index I [D/index/default/i0] [D/index/default/i1] []', 'end jump-index',
                      'begin jump-data I [D/data/default/d0] [D/data/default/d1]', 'end jump-data'], 'jump-index ends before jump-data begins; an empty list is an argument')
    s.forget()
    c('SET', 'k', 'w')
    c('NSJUMP')
    ok(s.saw('end jump-data'), 'an update makes the old index dirty')
    equal(s.calls()[0], 'begin jump-index I [D/index/default/i1] [D/index/default/i2] [0]', 'and that is told')
    equal(c('INDEX', 'DIRTY'), [], 'the hook took it over')
    s.write('exit-jump-index', '3')
    c('SET', 'k', 'x')
    s.forget()
    c('NSJUMP')
    ok(s.saw('end jump-data'), 'a hook that fails')
    ok(wait_until(lambda: c('INDEX', 'DIRTY') == [1]), 'leaves the list', c('INDEX', 'DIRTY'))
    s.remove('exit-jump-index')
    c('SET', 'other', 'x')
    s.forget()
    c('NSJUMP')
    ok(s.saw('begin jump-index I [D/index/default/i3] [D/index/default/i4] [1]'), 'and the next rotation carries it', s.calls())
    ok(s.saw('end jump-data') and wait_until(lambda: c('INDEX', 'DIRTY') == []), 'until one succeeds')
    wait_until(lambda: all(r[4] > 0 for r in c('HOOKS'))) # the program says 'end' before it has ended
    rows = c('HOOKS')
    ok(all(len(r) == 6 and r[2] > 0 and r[3] > 0 for r in rows), 'HOOKS lists them', rows)
    ok([r[5] for r in rows if r[0] == b'jump-index'] == [0, 0, 3, 0] and all(r[4] > 0 for r in rows), 'with their exit codes', rows)
    equal([r[1] for r in rows if r[0] == b'namespace-created'], [[b'one']], 'and arguments')
    with open(s.file('fds')) as f:
        inherited = [line for line in f.read().splitlines() if line.split()[1] not in ('0', '1', '2', '255')]
    equal(inherited, [], 'no descriptor but 0, 1 and 2 is inherited')
    with open(s.file('session-jump-data')) as f:
        ok(int(f.read()) != os.getsid(s.process.pid), 'a hook has its own session')
    s.forget()
    c('SET', 'k', 'y')
    equal(s.stop(), 143, 'stop')
    equal(s.calls(), ['begin close I', 'end close', 'begin namespace-closing I [default] [D/index/default/i4] [D/data/default/d4] [2]', 'end namespace-closing'],
          'close, then namespace-closing, which is waited for')


def ends():
    note('what else ends a server, and which hooks hear of it')
    s = Hooked('ends', '--mode', 'user')
    init, ready, close = 'begin namespaces-init I [D/index] [D/data]', 'begin ready I', 'begin close I'
    closing = 'begin namespace-closing I [default] [D/index/default/i0] [D/data/default/d0] []'

    def hooks(what, code, want, *options):
        s.forget()
        done = subprocess.run(s.command() + list(options), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT)
        equal([done.returncode] + [x for x in s.calls() if x.startswith('begin')], [code] + want, what)

    hooks('--dump: no close', 0, [init, closing], '--dump')
    s.write('exit-ready', '5')
    hooks('ready that fails: no close either', 1, [init, ready, closing])
    s.remove('exit-ready')
    os.unlink(s.path)
    os.mkdir(s.path)
    hooks('a socket that cannot be had: nothing was served, nothing is told', 1, [init])
    os.rmdir(s.path)
    s.write('hold-ready', '')
    s.forget()
    s.start(wait=False)
    ok(s.saw(ready), 'a start that waits for ready')
    equal(s.stop(signal.SIGINT), 130, 'is interrupted')
    equal([x for x in s.calls() if x.startswith('begin')], [init, ready, close, closing], 'which is a stop like any other')
    s.remove('hold-ready')
    s.start()
    s.forget()
    equal(s.client()('STOP'), Status('Stopping'), 'STOP')
    equal(s.process.wait(LIMIT), 0, 'too')
    equal(s.calls(), [close, 'end close', closing, 'end namespace-closing'], 'with the same hooks')


def crash():
    note('a fatal signal')
    for signo in signal.SIGSEGV, signal.SIGABRT:
        s = Hooked('crash', '--mode', 'user', '--datasize', '524288').start()
        c = s.client()
        c('NSNEW', 'other')
        c('SET', 'k', 'v')
        c('NSJUMP')
        ok(s.saw('end jump-data') and s.saw('end namespace-created'), 'a server with a past')
        equal([c('SET', 'k', 'w'), c('SET', 'l', 'x')], [b'k', b'l'], 'an update of an older file waits to be applied')
        s.forget()
        s.write('hold-crash', '')
        equal(s.stop(signo), 128 + signo, '%s: its exit code' % signal.Signals(signo).name)
        closing = ['begin namespace-closing I [default] [D/index/default/i1] [D/data/default/d1] [0]', 'begin namespace-closing I [other] [D/index/other/i0] [D/data/other/d0] []']
        ok(s.saw('begin crash I') and all(s.saw(line) for line in closing), 'crash, and namespace-closing for each', s.calls())
        ok('end crash' not in s.calls(), 'nobody waits for them')
        s.remove('hold-crash')
        ok(s.saw('end crash') and wait_until(lambda: s.calls().count('end namespace-closing') == 2), 'they run to their end')
        equal(len(s.calls()), 6, 'no other hook was called')
        with open(s.file('fds')) as f:
            equal([line for line in f.read().splitlines() if line.split()[1] not in ('0', '1', '2', '255')], [], 'without a descriptor of ours')
        with open(s.file('index', 'default', 'mark'), 'rb') as f:
            equal(f.read(5), b'QSZM\1', 'nothing is marked clean')
        c = s.start().client()
        equal([c('GET', 'k'), c('GET', 'l'), c('DBSIZE')], [b'w', b'x', 2], 'the next start recovers')
        equal(s.stop(), 143, 'and stops as usual')
    s = Server('core', '--mode', 'user').start()
    equal(s.stop(signal.SIGSEGV), -signal.SIGSEGV, 'without a hook program it dies of the signal')


def beside():
    note('a hook that hangs stops nobody')
    s = Hooked('beside', '--mode', 'seq', '--datasize', '524288').start()
    c, other = s.client(), s.client()
    s.write('hold-jump-index', '')
    first = c('SET', '', b'a' * 300000)
    s.forget()
    ident = c('SET', '', b'b' * 300000)
    ok(s.saw('begin jump-index I [D/index/default/i0] [D/index/default/i1] []'), 'a rotation by size calls its hook')
    equal(c('GET', first), b'a' * 300000, 'while it runs, reads are served')
    equal(c('SET', '', 'c'), bytes([2]) + bytes(7), 'and writes')
    equal(other('PING'), Status('PONG'), 'and others')
    c('NSJUMP')
    equal(len([x for x in s.calls() if x.startswith('begin')]), 1, 'hooks of the next rotation wait for their turn')
    s.remove('hold-jump-index')
    ok(wait_until(lambda: s.calls().count('end jump-data') == 2), 'and get it')
    order = [x.split(' I')[0] for x in s.calls()]
    index = [i for i, x in enumerate(order) if x.endswith('jump-index')]
    data = [i for i, x in enumerate(order) if x == 'begin jump-data']
    ok([order[i] for i in index] == ['begin jump-index', 'end jump-index'] * 2 and index[1] < data[0] < index[3] < data[1], 'in order', order)

    note('absent segments')
    path = s.file('data', 'default', 'd0')
    os.rename(path, s.file('kept'))
    s.write('do-missing-data', '#!/bin/sh\ncp "%s" "$1"\n' % s.file('kept'))
    os.chmod(s.file('do-missing-data'), 0o755)
    s.write('hold-missing-data', '')
    s.forget()
    c('RELOAD', 'default')
    readers = [s.client() for _ in range(3)]
    for r in readers:
        r.send('GET', first)
    readers[0].send('PING')
    mget = s.client()
    mget.send('MGET', ident, first, 'x')
    ok(s.saw('begin missing-data I [D/data/default/d0]'), 'a read of an absent segment asks for it')
    equal([c('EXISTS', first), c('LENGTH', first), c('GET', ident) == b'b' * 300000], [1, 300000, True], 'others are answered meanwhile')
    equal(c('SET', first, b'A' * 300000), first, 'a write over it does not fetch it')
    equal(c('SET', first, b'a' * 300000), first, 'not even to compare')
    s.remove('hold-missing-data')
    # the readers asked before the write: the value of either moment is right, here it is the same
    equal([r.reply() == b'a' * 300000 for r in readers], [True] * 3, 'when it is back, all who waited get their answer')
    equal(readers[0].reply(), Status('PONG'), 'and what they asked behind it')
    got = mget.reply()
    ok(got[0] == b'b' * 300000 and got[1] == b'a' * 300000 and got[2] is None, 'MGET waits in the middle of its answer')
    equal(s.calls().count('begin missing-data I [D/data/default/d0]'), 1, 'it was asked for once')

    note('a segment that does not come back')
    os.unlink(path)
    s.remove('do-missing-data')
    c('RELOAD', 'default')
    s.write('exit-missing-data', '1')
    equal(c('DATA', 'RAW', '0', '28'), Error('Invalid Request'), 'is an error')
    s.write('exit-missing-data', '0')
    equal(c('DATA', 'RAW', '0', '28'), Error('Invalid Request'), 'also when the hook claims success')
    s.process.terminate()
    equal(s.process.wait(LIMIT), 143, 'stop')


def limits():
    note('limits')
    s = Hooked('limits', '--mode', 'user', '--datasize', '524288', '--missing-limit', '300ms', '--hook-limit', '1s').start()
    c = s.client()
    c('SET', 'k', 'v')
    c('NSJUMP')
    s.saw('end jump-data')
    os.unlink(s.file('data', 'default', 'd0'))
    c('RELOAD', 'default')
    s.write('hold-missing-data', '')
    equal(c('GET', 'k'), Error('Internal Error'), 'a hook that hangs is an error in the end')
    ok(wait_until(lambda: [r for r in c('HOOKS') if r[0] == b'missing-data' and r[4] > 0]), 'and is ended')
    s.write('hold-jump-index', '')
    c('NSJUMP')
    ok(wait_until(lambda: [r for r in c('HOOKS') if r[0] == b'jump-index' and r[3] > 0 and r[4] > 0 and r[1][0].endswith(b'i1')]), 'so is jump-index')
    s.stop()

    note('a restore that is interrupted, a start that is refused')
    s = Hooked('init')
    s.write('hold-namespaces-init', '')
    s.start(wait=False)
    s.saw('begin namespaces-init I [D/index] [D/data]')
    equal(s.stop(), 143, 'SIGTERM during namespaces-init ends the start')
    ok('end namespaces-init' not in s.calls(), 'and the hook')
    s.remove('hold-namespaces-init')
    s.write('exit-ready', '5')
    s.start(wait=False)
    equal(s.process.wait(LIMIT), 1, 'ready that fails is a start that fails')
    ok('ready' in s.text(), 'with a message', s.text())
    s.options.append('--ready-exit-0')
    s.start(wait=False)
    equal(s.process.wait(LIMIT), 0, '--ready-exit-0 keeps the exit code of the original')
    s.remove('exit-ready')
    stored = Hooked('stored', '--spool', '{dir}/spool', '--ready-exit-0')
    stored.write('exit-namespaces-init', '3')
    stored.start(wait=False)
    equal(stored.process.wait(LIMIT), 1, 'but not for a restore that failed')
    ok('nothing was opened' in stored.text() and 'begin ready I' not in stored.calls(), 'which opens nothing of a stored volume', stored.text())
    s.options.remove('--ready-exit-0')
    s.options += ['--hook-grace', '200ms']
    s.write('hold-namespace-closing', '')
    s.start()
    equal(s.stop(), 143, 'a closing hook that hangs is waited for within the grace')
    s.remove('hold-namespace-closing')
    s.start()
    equal(s.stop(), 143, 'the lock is free although that hook may still run')
    s.write('hook', '#!/nonexistent\n')
    s.start(wait=False)
    equal(s.process.wait(LIMIT), 1, 'a hook that cannot be run: ready fails')
    ok('cannot run hook' in s.text(), 'with a message', s.text())


def spooled():
    note('the spool')
    s = Hooked('spool', '--mode', 'user', '--datasize', '524288', '--spool', '{dir}/spool', '--temp', 'scratch').start()
    c = s.client()
    for ns in 'kept', 'scratch', 'zdbfs-temp':
        c('NSNEW', ns)
    kinds = lambda: sorted(re.sub(r'^([a-z]+).*', r'\1', n) for n in os.listdir(s.file('spool')) if re.match('(segment|bundle|descriptor|nsdrop)', n))
    equal(kinds(), ['descriptor'], 'a namespace is noted, a temp one is not')
    for ns in 'kept', 'scratch', 'zdbfs-temp':
        c('SELECT', ns)
        c('SET', 'a', 'v')
        c('SET', 'a', 'w')
        c('NSJUMP')
    equal(kinds(), ['bundle', 'descriptor', 'segment'], 'a rotation leaves the segment and its bundle before it is answered')
    bundle = [n for n in os.listdir(s.file('spool')) if n.startswith('bundle')][0]
    with open(s.file('spool', bundle), 'rb') as f:
        text = f.read()
    at = text.find(b'QSX1')
    first, last, rows, extents = [int.from_bytes(text[at + 4 + 4 * i:at + 8 + 4 * i], 'little') for i in range(4)]
    ok(at > 0 and (first, last, rows) == (0, 0, 0) and extents > 0, 'the bundle is QSX1 of segment 0', (at, first, last, rows, extents))
    size = sum(int.from_bytes(text[at + 20 + 12 * i + 8:at + 32 + 12 * i], 'little') for i in range(extents))
    equal(len(text) - at, 20 + 12 * extents + size, 'its extents account for all its bytes')
    with open(s.file('index', 'kept', 'i0'), 'rb') as f:
        index = f.read()
    pos, whole = at + 20 + 12 * extents, True
    for i in range(extents):
        n, off, length = [int.from_bytes(text[at + 20 + 12 * i + 4 * k:at + 24 + 12 * i + 4 * k], 'little') for k in range(3)]
        whole, pos = whole and n == 0 and text[pos:pos + length] == index[off:off + length], pos + length
    ok(whole, 'and they are what the index file holds')
    env = lambda: open(s.file('env')).read() if os.path.exists(s.file('env')) else ''
    ok(wait_until(lambda: 'ZDB_SPOOL=%s/spool' % s.dir in env()), 'hooks learn that it was done')
    c('SELECT', 'default')
    c('NSDEL', 'kept')
    ok('nsdrop' in ''.join(os.listdir(s.file('spool'))).replace('-', ''), 'a removed namespace is noted', os.listdir(s.file('spool')))
    equal(s.stop(), 143, 'stop')


def main():
    life()
    ends()
    crash()
    beside()
    limits()
    spooled()


run(main)
