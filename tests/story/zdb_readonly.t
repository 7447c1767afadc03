#!/usr/bin/python3
# Directories that cannot be written, because of their mount or of their mode bits: every read is served, every write refused, nothing is changed. Ours
# after a stop and after kill -9, and 0-db's (the golden set beside the repository, or GOLDEN=DIR). Needs root.
import os, struct, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from zdb_lib import *

OK = Status('OK')
NO_WRITE = Error('Cannot write data right now')
GOLDEN = os.environ.get('GOLDEN', os.path.join(TOP, '..', 'shared', 'vectors', 'golden'))
NOBODY = 65534


class Guest(Server):
    """A server on the roots of somebody else; its socket and log are its own."""

    def __init__(self, name, store, user=None, *options):
        super().__init__(name, *options)
        self.store, self.user = store, user
        os.chmod(self.dir, 0o777)

    def command(self):
        argv = [QSFS, 'zdb', '--data', os.path.join(self.store, 'data'), '--index', os.path.join(self.store, 'index'), '--socket', self.path] + self.options
        return ['setpriv', '--reuid', str(self.user), '--clear-groups'] + argv if self.user else argv


def snapshot(root):
    """Everything that a write would change: names, sizes, times, modes, bytes."""
    out = {}
    for where, directories, names in os.walk(root):
        for name in directories + names:
            path = os.path.join(where, name)
            st = os.lstat(path)
            body = open(path, 'rb').read() if os.path.isfile(path) else None
            out[path] = (st.st_size, st.st_mtime_ns, st.st_ctime_ns, st.st_mode, body)
    return out


class ByMount:
    name, user = 'a read-only mount', None

    def __init__(self, store):
        self.store = store
        subprocess.run(['mount', '--bind', store, store], check=True)
        subprocess.run(['mount', '-o', 'remount,ro,bind', store], check=True)

    def end(self):
        subprocess.run(['umount', self.store], check=True)


class ByMode:
    name, user = 'no permission', NOBODY

    def __init__(self, store):
        subprocess.run(['chmod', '-R', 'a-w,a+rX', store], check=True)

    def end(self):
        pass


def refusals(c, key):
    for words, want in [
        (['SET', key, 'x'], NO_WRITE), (['SET', b'', 'x'] if len(key) == 8 else ['SET', 'fresh', 'x'], NO_WRITE), (['DEL', key], Error('Cannot delete key (data)')),
        (['BATCH', 'SET', key, 'x', 'DEL', key], [NO_WRITE, Error('Cannot delete key (data)')]), (['NSJUMP'], NO_WRITE), (['NSNEW', 'new'], Error('Could not create namespace')),
        (['NSDEL', 'other'], Error('Could not delete this namespace')), (['NSSET', 'other', 'worm', '1'], Error('Internal Error')),
        (['SYNC'], OK), (['SYNC', 'INDEX'], OK), (['RELOAD', 'other'], OK), (['NSINFO', 'new'], Error('Namespace not found')),
    ]:
        equal(c(*words), want, ' '.join(w if isinstance(w, str) else repr(w) for w in words)[:60])


def ours(mode, how):
    """A life: files, updates, deletions; what it holds at the end."""
    s = Server('written', '--mode', mode, '--datasize', '524288').start()
    c = s.client()
    keep = {}
    equal([c('NSNEW', 'other'), c('SELECT', 'other'), c('SET', b'', 'v') is not None, c('SELECT', 'default')], [OK, OK, True, OK], '%s mode, %s: a store' % (mode, how))

    def put(key, value):
        got = c('SET', key, value)
        keep[got] = value

    for n in range(30):
        put(b'' if mode == 'seq' else b'key%d' % n, b'%d ' % n * 20000)
    s.stop()
    s.start()
    c = s.client()
    keys = list(keep)
    for key in keys[::3]:
        put(key, b'new' + key)
    for key in keys[1::3]:
        c('DEL', key)
        keep.pop(key)
    put(b'' if mode == 'seq' else b'last', b'last')
    if how == 'killed':
        s.kill()
    else:
        s.stop()
    return s.dir, keep, keys


def serves(store, way, mode, keep, keys):
    before = snapshot(store)
    s = Guest('reads', store, way.user, '--mode', mode).start()
    c = s.client()
    wrong = [k for k in set(keys) | set(keep) if not same(c('GET', k), keep.get(k)) or c('EXISTS', k) != int(k in keep)]
    ok(not wrong and c('DBSIZE') == len(keep), '%s: everything is served' % way.name, wrong[:5])
    listed = [e[0] for e in c('SCAN')[1]]
    ok(sorted(listed) == sorted(keep) and [e[0] for e in c('RSCAN')[1]] == listed[::-1], 'and listed')
    refusals(c, next(iter(keep)))
    ok(all(same(c('GET', k), v) for k, v in keep.items()), 'after the refusals too')
    equal(s.stop(), 143, 'a stop')
    ok(snapshot(store) == before, 'and nothing was changed')


def torn(way_of):
    """What cannot be recovered without writing is refused, not served wrongly."""
    store, keep, _ = ours('user', 'killed')
    path = os.path.join(store, 'index', 'default')
    last = max((f for f in os.listdir(path) if f[0] == 'i'), key=lambda f: int(f[1:]))
    with open(os.path.join(path, last), 'r+b') as f:
        f.truncate(os.path.getsize(f.name) - 5)
    way = way_of(store)
    before = snapshot(store)
    s = Guest('torn', store, way.user, '--mode', 'user')
    try:
        s.start()
        ok(False, 'an index that has to be made whole: refused')
    except RuntimeError:
        s.process.wait(LIMIT)
        s.process = None
        ok('recover a copy' in s.text(), 'an index that has to be made whole: refused', s.text())
    ok(snapshot(store) == before, 'and left alone')
    way.end()


def offline_verbs(way_of):
    """Who looks may look, at a store that was killed, too; who would change it is refused in one line."""
    for how in 'stopped', 'killed':
        store, _, _ = ours('user', how)
        os.chmod(store, 0o755)
        way = way_of(store)
        before = snapshot(store)
        roots = ['--data', os.path.join(store, 'data'), '--index', os.path.join(store, 'index')]
        who = ['setpriv', '--reuid', str(way.user), '--clear-groups'] if way.user else []
        for verb, want in ['check', 0 if how == 'stopped' else 4], ['dump', 0], ['check --repair', 1], ['compact', 1], ['--recover', 1]:
            run = subprocess.run(who + [QSFS, 'zdb'] + verb.split() + roots, capture_output=True, text=True)
            line = 'cannot write to ' + os.path.join(store, 'index')
            ok(run.returncode == want and (want != 1 or (line in run.stderr and len(run.stderr.splitlines()) == 1 and not run.stdout)),
               '%s, %s: zdb %s: %d' % (way.name, how, verb, want), (run.returncode, run.stdout[-300:], run.stderr[-300:]))
        ok(snapshot(store) == before, 'and nothing was changed')
        way.end()


def unreadable():
    """Whom the mode bits keep away is told of what, and hears nothing of losses."""
    store, _, _ = ours('user', 'stopped')
    subprocess.run(['chmod', '-R', 'a+rX', store], check=True)
    for path, mode in [store, 0o755], [os.path.join(store, 'index'), 0o755], [os.path.join(store, 'data'), 0o755], [os.path.join(store, 'data', 'default', 'd0'), 0o644]:
        os.chmod(path, 0o600)
        run = subprocess.run(['setpriv', '--reuid', str(NOBODY), '--clear-groups', QSFS, 'zdb', 'check', store], capture_output=True, text=True)
        word = ('cannot read d0' if path.endswith('d0') else path)
        ok(run.returncode == 1 and 'lost' not in run.stdout and word in run.stderr and 'permission denied' in run.stderr,
           'check of what may not be read: %s' % path.replace(store, 'DIR'), (run.returncode, run.stdout, run.stderr))
        os.chmod(path, mode)


def golden(mode, way_of):
    if not os.path.isdir(GOLDEN):
        note('no golden set: stores of 0-db are not tried')
        return
    place = Server('golden')
    os.chmod(place.dir, 0o755)
    subprocess.run('zstd -dc %s/zdb-%s.tar.zst | tar xf - --no-same-owner' % (GOLDEN, mode), shell=True, check=True, cwd=place.dir)
    store = place.file('zdb-' + mode)
    way = way_of(store)
    before = snapshot(store)
    s = Guest('original', store, way.user, '--mode', mode).start()
    done = subprocess.run([sys.executable, os.path.join(GOLDEN, 'verify_golden.py'), s.path, os.path.join(GOLDEN, 'zdb-%s.manifest.jsonl' % mode)],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=s.dir)
    said = done.stdout.decode()
    # its probes of refused writes get our refusal, which comes first
    wrong = [line for line in said.splitlines() if line.startswith('FAIL') and '{"reply": "-Cannot ' not in line]
    ok(not wrong and ' passed, ' in said, "%s: every answer of 0-db's store, %s mode" % (way.name, mode), said[-800:])
    equal(s.client()('NSNEW', 'new'), Error('Could not create namespace'), 'no change')
    s.stop()
    ok(snapshot(store) == before, 'and none was made')
    way.end()


def main():
    os.umask(0o022)
    ways = [ByMount, ByMode]
    if subprocess.run(['setpriv', '--reuid', str(NOBODY), '--clear-groups', 'test', '-x', QSFS], stderr=subprocess.DEVNULL).returncode:
        note('nobody cannot run %s: mode bits are not tried' % QSFS)
        ways.pop()
    for way_of in ways:
        for mode in 'user', 'seq':
            for how in 'stopped', 'killed':
                store, keep, keys = ours(mode, how)
                os.chmod(store, 0o755)
                way = way_of(store)
                serves(store, way, mode, keep, keys)
                way.end()
            golden(mode, way_of)
        torn(way_of)
        offline_verbs(way_of)
    if ByMode in ways:
        unreadable()


private_mounts()
run(main)
