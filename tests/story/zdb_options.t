#!/usr/bin/python3
# Options, readiness, background, verbs, messages and exit codes of zdb.
import hashlib, os, re, stat, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from zdb_lib import *


def zdb(*args, **kw):
    """Runs zdb to its end: exit code and everything it said."""
    done = subprocess.run([QSFS, 'zdb', *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT, **kw)
    return done.returncode, done.stdout.decode(errors='replace')


def refused(what, word, *args, **kw):
    code, text = zdb(*args, **kw)
    ok(code == 1 and word in text and len(text.strip().splitlines()) == 1, what + ': exit 1 and one line', '%d\n%s' % (code, text))


def options():
    w = Server('options')
    roots = ['--data', w.file('d'), '--index', w.file('i')]
    unix = ['--socket', w.path]
    refused('an unknown option', 'nosuch', '--nosuch')
    refused('an unknown mode', 'mode', '--mode', 'x')
    for size in '1', '524287', '4294967295', '4G', '1m', 'x', '':
        refused('--datasize ' + repr(size), 'datasize', '--datasize', size)
    refused('--protect without a password', 'protect', '--protect', *roots, *unix)
    refused('a socket path that is too long', 'socket', *roots, '--socket', '/tmp/' + 'x' * 120)
    with open(w.file('plain'), 'w') as f:
        f.write('secret\n')
    os.chmod(w.file('plain'), 0o644)
    refused('an admin file that others may read', '0600', *roots, *unix, '--admin-file', w.file('plain'))
    refused('a socket path that is a file', 'not a socket', *roots, '--socket', w.file('plain'))
    os.symlink('d', w.file('link'))
    for index in w.file('d'), w.file('link'), w.file('d', '..', 'd') + '/':
        refused('one directory for index and data, as ' + os.path.relpath(index, w.dir), 'different directories', '--data', w.file('d'), '--index', index, *unix)
    refused('a log file that cannot be opened', 'log file', *roots, *unix, '--background', '--logfile', w.file('nosuch', 'log'))
    ok(not os.path.exists(w.path), 'and nothing serves')
    code, text = zdb('--version')
    ok(code == 0 and len(text.splitlines()) == 3, '--version prints three lines', text)
    busy = socket.socket()
    busy.bind(('127.0.0.1', 0))
    busy.listen()
    refused('a port in use', 'in use', *roots, '-listen', '127.0.0.1', '-port', str(busy.getsockname()[1]))
    os.chmod(w.file('plain'), 0o600)
    for what, password in ('empty', ''), ('too long', 'x' * 256), ('too long, of characters that are more bytes', 'é' * 128):
        refused('an admin password that is ' + what, '1 to 255 bytes', *roots, *unix, '--admin', password)
        refused('the same with --protect', '1 to 255 bytes', *roots, *unix, '--admin', password, '--protect')
        with open(w.file('secret'), 'w') as f:
            f.write(password + '\nsecond line\n')
        os.chmod(w.file('secret'), 0o600)
        refused('the same in a file', '1 to 255 bytes', *roots, *unix, '--admin-file', w.file('secret'))
    s = Server('longest', '--mode', 'user', '--protect', '--admin', 'x' * 255).start()
    c = s.client()
    challenge = c('AUTH', 'SECURE', 'CHALLENGE')
    equal(c('AUTH', 'SECURE', hashlib.sha1(('%s:%s' % (challenge, 'x' * 255)).encode()).hexdigest()), Status('OK'), 'the longest admin password serves')
    equal(c('SELECT', 'default', 'x' * 255), Status('OK'), 'for --protect, too')
    equal(s.stop(), 143, 'stop')
    s = Server('prefix', '-mode', 'seq', '-datas', '1.5M', '-admin-file', w.file('plain'), '-prefix-commands').start()
    c = s.client()
    equal(c('P'), Status('PONG'), 'single dashes, prefixes of options and, when asked for, of commands')
    equal(c('AUTH', 'secret'), Status('OK'), 'the admin password from a file')
    equal(s.stop(), 143, 'stop')


def background():
    w = Server('background')
    argv = [QSFS, 'zdb', '--data', w.file('data'), '--index', w.file('index'), '--socket', w.path, '--background', '--logfile', w.file('logfile')]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=LIMIT)
    pid = int(done.stdout)
    ok(done.returncode == 0 and pid > 1, '--background prints the pid and exits 0')
    equal(w.client()('PING'), Status('PONG'), 'when it serves')
    again = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT)
    ok(again.returncode == 1 and b'already using' in again.stdout, 'a second one says why not, exit 1', again.stdout)
    code, text = zdb('--data', w.file('d'), '--index', w.file('i'), '--socket', w.path + '2', '--background', '--hook', '/bin/false', '--ready-exit-0')
    ok(code == 0 and not re.search('^[0-9]+$', text, re.M), 'the pid of one that the hook ready has refused is not printed, whatever its exit code', text)
    os.kill(pid, signal.SIGTERM)
    ok(wait_until(lambda: not os.path.exists('/proc/%d/exe' % pid) or open('/proc/%d/stat' % pid).read().split()[2] == 'Z'), 'it ends')
    with open(w.file('logfile')) as f:
        ok('stopping' in f.read(), 'its messages are in the log file')


def ready():
    s = Server('notify')
    path = s.file('notify')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as n:
        n.bind(path)
        n.settimeout(LIMIT)
        s.env['NOTIFY_SOCKET'] = path
        s.start()
        equal(n.recv(100), b'READY=1', 'NOTIFY_SOCKET hears of readiness')
        s.process.terminate()
        equal(n.recv(100), b'STOPPING=1', 'and of the stop')
        s.process.wait(LIMIT)


def verbs():
    s = Server('verbs', '--mode', 'user', tcp=True).start()
    equal(zdb('ping', '-s', s.path), (0, 'PONG\n'), 'ping over the socket')
    equal(zdb('ping', '-p', str(s.port)), (0, 'PONG\n'), 'ping over TCP')
    code, text = zdb('ping', '-s', s.file('nosuch'), '-t', '1s')
    ok(code == 1 and 'no answer' in text and s.file('nosuch') in text, 'ping of nobody: 1 and a message', text)
    c = s.client()
    c('SET', 'k', 'v')
    c('SET', 'k', 'w')
    code, text = zdb('check', s.dir)
    ok(code == 5, 'check of directories in use: 5', text)
    s.stop()
    code, text = zdb('check', s.dir)
    ok(code == 0 and '0 repairable, 0 lost' in text, 'check of a clean one: 0', text)
    code, text = zdb('dump', s.dir)
    ok(code == 0 and len([x for x in text.splitlines() if 'default i0:' in x]) == 2, 'dump shows both versions', text)
    code, text = zdb('--dump', '--data', s.file('data'), '--index', s.file('index'), '--mode', 'user')
    ok(code == 0 and len(re.findall('default i0:', text)) == 2, '--dump too', text)
    s.start()
    c = s.client()
    c('SET', 'x', 'y')
    c('NSJUMP')
    c('SET', 'z', 'y')
    s.kill()
    code, text = zdb('--recover', '--data', s.file('data'), '--index', s.file('index'))
    equal(code, 0, '--recover')
    code, text = zdb('check', s.dir)
    ok(code == 0, 'makes a killed one clean', text)
    with open(s.file('data', 'default', 'd0'), 'r+b') as f:
        f.seek(-1, os.SEEK_END)
        f.write(b'Y')
    code, text = zdb('check', s.dir)
    ok(code == 1 and 'lost' in text, 'check finds a changed byte: 1', text)
    code, text = zdb('check')
    equal(code, 2, 'check without a directory: usage')


def misused():
    """Wrong usage of a verb is 2; the server keeps the 1 of 0-db."""
    w = Server('misused')
    made = [w.file('data'), w.file('index')]
    for path in made:
        os.mkdir(path)
    for words in [
        ['ping', '--nosuch'], ['ping', 'word'], ['ping', '-p', '0'], ['ping', '-p', '65536'], ['ping', '-t', '-1s'], ['ping', '-s'], ['ping', '-s', 'x' * 120],
        ['check', '--nosuch', w.dir], ['check'], ['check', w.dir, w.dir], ['check', '--data', made[0]],
        ['check', ''], ['check', w.dir, '--data', made[0], '--index', made[1]], ['ping', '-s', ''],
        ['dump', '--nosuch', w.dir], ['dump'], ['dump', w.dir, w.dir], ['dump', '--data', made[0]],
        ['compact', '--nosuch', w.dir], ['compact'], ['compact', w.dir, w.dir], ['compact', w.dir, '-s', w.path], ['compact', '--threshold', '101', w.dir],
        ['compact', '--threshold', '-1', w.dir], ['compact', '--threshold', '9' * 30, w.dir], ['compact', '--keep-history', '0', w.dir],
        ['compact', '--keep-history', '9' * 30 + 'd', w.dir], ['compact', '-p', '65536'], ['compact', '-p', '0'], ['compact', '-s', ''], ['compact', '-t', '1ms', w.dir], ['compact', '-n'], ['compact', '-t', '50d', '-s', w.path],
    ]:
        code, text = zdb(*words)
        ok(code == 2 and len(text.splitlines()) == 1 and text.startswith('zdb %s: ' % words[0]) and '--help' in text,
           'zdb %.60s: wrong usage' % ' '.join(words).replace(w.dir, 'DIR'), '%d\n%s' % (code, text))
    for words in ['--recover', 'check', w.dir], ['--data', made[0], '--index', made[1], 'dump', w.dir]:
        code, text = zdb(*words)
        ok(code == 2 and 'before the verb' in text, 'options of the server before a verb are not left unseen', '%d\n%s' % (code, text))
    equal(zdb('nosuch')[0], 1, 'what is no verb at all is the usage of the server: 1')


def looked(directory):
    """Everything below it: names, sizes and times of all, bytes of files."""
    out = {}
    for where, directories, names in os.walk(directory):
        for name in directories + names:
            path = os.path.join(where, name)
            st = os.lstat(path)
            out[path] = (st.st_size, st.st_mtime_ns, st.st_mode, open(path, 'rb').read() if os.path.isfile(path) else None)
    return out


def refuses(what, code, word, data, index, verbs=('check', 'dump', 'compact', 'check --repair', '--recover'), watch=None):
    """Each verb in one line, without a finding, and nothing is made or changed. --recover is 1 for everything, as the server is."""
    before = looked(watch or os.path.dirname(data))
    for verb in verbs:
        got, text = zdb(*verb.split(), '--data', data, '--index', index)
        want = 1 if verb == '--recover' else code
        ok(got == want and len(text.splitlines()) == 1 and word in text and text.startswith('zdb: cannot '),
           'zdb %s, %s: %d and one line' % (verb, what, want), '%d\n%s' % (got, text))
    ok(looked(watch or os.path.dirname(data)) == before, '%s: nothing is made or changed' % what)


def no_store():
    w = Server('nostore')
    data, index = w.file('data'), w.file('index')
    refuses('no directories', 7, 'no directory ' + index, data, index)
    os.mkdir(index)
    refuses('no data directory', 7, 'no directory ' + data, data, index)
    os.mkdir(data)
    refuses('empty directories', 7, 'no store', data, index)
    os.mkdir(os.path.join(index, 'default'))
    with open(os.path.join(index, 'default', 'notes'), 'w') as f:
        f.write('plain\n')
    refuses('directories of another kind', 7, 'no store', data, index)
    refuses('a file instead of a directory', 7, f.name, f.name, index, watch=w.dir)
    refuses('a file above the directories', 7, f.name, f.name + '/data', f.name + '/index', watch=w.dir)
    s = Server('store').start()
    s.client()('SET', 'key', 'value')
    refuses('a server holds them', 5, 'already using: ' + s.file('index'), s.file('data'), s.file('index'))
    s.stop()
    refuses('they are swapped', 7, 'no store', s.file('index'), s.file('data'))
    refuses('they are one', 1, 'different directories', s.file('data'), s.file('data'))
    equal(zdb('check', s.dir), (0, '0 notes, 0 repairable, 0 lost\n'), 'and the store is whole')


def broken():
    """A store of which one namespace is damaged, cut short, or not made yet."""
    s = Server('broken').start()
    c = s.client()
    for name in 'torn', 'bare':
        c('NSNEW', name)
    c('SELECT', 'torn')
    c('SET', 'key', 'value')
    s.stop()
    os.rename(s.file('data', 'torn', 'd0'), s.file('kept'))
    code, text = zdb('dump', s.dir)
    ok(code == 3 and 'namespace torn is not dumped' in text and 'd0' in text, 'dump without one namespace: 3, and it is named', '%d\n%s' % (code, text))
    os.rename(s.file('kept'), s.file('data', 'torn', 'd0'))
    os.mkdir(s.file('index', 'new'))
    os.remove(s.file('data', 'bare', 'd0'))
    code, text = zdb('check', s.dir)
    ok(code == 4 and text.count('repairable: ') == 2 and '2 repairable, 0 lost' in text, 'what has no records yet is not lost: 4', '%d\n%s' % (code, text))
    code, text = zdb('check', '--repair', s.dir)
    equal(code, 0, 'it can be repaired')
    equal(zdb('check', s.dir), (0, '0 notes, 0 repairable, 0 lost\n'), 'and is whole then')
    with open(s.file('index', 'torn', 'zdb-namespace'), 'r+b') as f:
        f.truncate(5)
    code, text = zdb('check', s.dir)
    ok(code == 4 and 'repairable: torn: zdb-namespace' in text and 'password' in text, 'a descriptor that is cut short is told: 4', '%d\n%s' % (code, text))
    code, text = zdb('--recover', '--data', s.file('data'), '--index', s.file('index'))
    ok(code == 0 and 'repairable: torn: made zdb-namespace' in text, 'and so is a new one', '%d\n%s' % (code, text))
    equal(zdb('check', s.dir), (0, '0 notes, 0 repairable, 0 lost\n'), 'once')


def main():
    options()
    broken()
    misused()
    no_store()
    background()
    ready()
    verbs()


run(main)
