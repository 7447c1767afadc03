"""Shared by the story tests of zdb (Python 3, standard library): a server in its own directory, a client that shows replies
exactly as they are on the wire, TAP output. Waits are for conditions, with a limit."""
import os, random, shutil, signal, socket, subprocess, sys, tempfile, time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
QSFS = os.environ.get('QSFS', os.path.join(TOP, 'build', 'qsfs'))
PEER = os.environ.get('ZDB_PEER')       # the original server's program, for the tests that compare with it
LIMIT = 60          # seconds for anything that must happen


class Error(str):
    """An error reply."""


class Status(str):
    """A status reply."""


class Closed(Exception):
    pass


class Client:
    def __init__(self, address, timeout=LIMIT):
        if isinstance(address, tuple):
            self.sock = socket.create_connection(address, timeout)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            self.sock = socket.socket(socket.AF_UNIX)
            # Blocking, because a socket with a time limit is refused (EAGAIN) while the server's backlog is full.
            self.sock.connect(address)
            self.sock.settimeout(timeout)
        self.data = b''

    @staticmethod
    def pack(*words):
        words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        return b'*%d\r\n' % len(words) + b''.join(b'$%d\r\n%s\r\n' % (len(w), w) for w in words)

    def send(self, *words):
        self.sock.sendall(self.pack(*words))

    def __call__(self, *words):
        self.send(*words)
        return self.reply()

    def _more(self):
        try:
            got = self.sock.recv(1 << 18)
        except ConnectionResetError:
            got = b''
        if not got:
            raise Closed()
        self.data += got

    def _line(self):
        while True:
            end = self.data.find(b'\r\n')
            if end >= 0:
                line, self.data = self.data[:end], self.data[end + 2:]
                return line
            self._more()

    def _bytes(self, count):
        if len(self.data) < count:
            parts, have = [self.data], len(self.data)
            while have < count:
                try:
                    got = self.sock.recv(1 << 20)
                except ConnectionResetError:
                    got = b''
                if not got:
                    raise Closed()
                parts.append(got)
                have += len(got)
            self.data = b''.join(parts)
        out, self.data = self.data[:count], self.data[count:]
        return out

    def reply(self):
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b'+':
            return Status(rest.decode('latin1'))
        if kind == b'-':
            return Error(rest.decode('latin1'))
        if kind == b':':
            return int(rest)
        if kind == b'$':
            count = int(rest)
            return None if count < 0 else self._bytes(count + 2)[:-2]
        if kind == b'*':
            count = int(rest)
            return None if count < 0 else [self.reply() for _ in range(count)]
        raise ValueError('not a reply: %r' % line)

    def closed(self):
        """Whether the server closes the connection (anything that still comes is dropped)."""
        try:
            while True:
                self.data = b''
                self._more()
        except Closed:
            return True
        except socket.timeout:
            return False

    def close(self):
        self.sock.close()


def same(got, want):
    """Equal in value and in kind: a status is not a bulk string."""
    return type(got) is type(want) and got == want


class Server:
    """One zdb below its own directory. Options that take a path may hold {dir}."""

    def __init__(self, name, *options, unix=True, tcp=False, env=None):
        self.dir = tempfile.mkdtemp(prefix='zdb-%s.' % name)
        self.options = [o.replace('{dir}', self.dir) for o in options]
        self.path = os.path.join(self.dir, 'sock')
        self.log = os.path.join(self.dir, 'log')
        self.unix, self.tcp, self.port, self.process = unix, tcp, None, None
        self.env = dict(os.environ, **(env or {}))
        servers.append(self)

    def command(self):
        argv = [QSFS, 'zdb', '--data', os.path.join(self.dir, 'data'), '--index', os.path.join(self.dir, 'index')]
        if self.unix:
            argv += ['--socket', self.path]
        if self.tcp:
            argv += ['--listen', '127.0.0.1', '--port', '0'] + (['--dualnet'] if self.unix else [])
        return argv + self.options

    def start(self, wait=True):
        ready, fd = os.pipe()
        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen(self.command() + ['--ready-fd', str(fd)], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, pass_fds=[fd], env=self.env, cwd=self.dir)
        os.close(fd)
        if wait:
            word = os.read(ready, 1)       # ends with the process, whatever becomes of it
            if word != b'\n':
                os.close(ready)
                raise RuntimeError('the server did not start:\n' + self.text())
            if self.tcp:
                self.port = int(self.text().rsplit(' port=', 1)[1].split()[0])
        os.close(ready)
        return self

    def text(self):
        with open(self.log, errors='replace') as log:
            return log.read()

    def client(self, tcp=False, timeout=LIMIT):
        return Client(('127.0.0.1', self.port) if tcp or not self.unix else self.path, timeout)

    def stop(self, how=signal.SIGTERM):
        """Ends it and returns its exit code, negative for a signal."""
        self.process.send_signal(how)
        code = self.process.wait(LIMIT)
        self.process = None
        return code

    def kill(self):
        return self.stop(signal.SIGKILL)

    def file(self, *parts):
        return os.path.join(self.dir, *parts)


class Peer(Server):
    """The original server, PEER. It says nothing when it is ready, and takes no port 0."""

    def command(self):
        argv = [PEER, '--data', self.file('data'), '--index', self.file('index')]
        if self.unix:
            argv += ['--socket', self.path]
        if self.tcp:
            with socket.socket() as probe:
                probe.bind(('127.0.0.1', 0))
                self.port = probe.getsockname()[1]
            argv += ['--listen', '127.0.0.1', '--port', str(self.port)] + (['--dualnet'] if self.unix else [])
        return argv + self.options

    def answers(self):
        try:
            c = self.client()
        except OSError:
            return False
        try:
            return c('PING') == 'PONG'
        except Closed:
            return False
        finally:
            c.close()

    def start(self, wait=True):
        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env, cwd=self.dir)
        if wait and not wait_until(lambda: self.process.poll() is not None or self.answers()) or self.process.poll() is not None:
            raise RuntimeError('the original did not start:\n' + self.text())
        return self


servers = []
_count = _failed = 0


def ok(condition, what, detail=None):
    global _count, _failed
    _count += 1
    if condition:
        print('ok %d - %s' % (_count, what))
    else:
        _failed += 1
        print('not ok %d - %s' % (_count, what))
        if detail is not None:
            for line in str(detail)[:2000].splitlines():
                print('#   ' + line)
    sys.stdout.flush()
    return condition


def equal(got, want, what):
    return ok(same(got, want), what, 'got  %r\nwant %r' % (got, want))


def note(text):
    print('# ' + text)


def wait_until(condition, limit=LIMIT):
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)        # between two looks at the condition
    return True


def skip_all(why):
    print('1..0 # SKIP ' + why)
    sys.exit(0)


def private_mounts():
    """Goes on in a mount namespace of its own, or skips: mounts of a test are seen by nobody else and end with it."""
    if os.geteuid() != 0:
        skip_all('not root')
    if 'ZDB_PRIVATE_MOUNTS' not in os.environ:
        if subprocess.run(['unshare', '-m', 'true'], stderr=subprocess.DEVNULL).returncode:
            skip_all('no private mount namespace')
        os.environ['ZDB_PRIVATE_MOUNTS'] = '1'
        os.execvp('unshare', ['unshare', '-m', '--propagation', 'private', sys.executable] + sys.argv)


def seed():
    value = int(os.environ.get('SEED', random.SystemRandom().randrange(1 << 32)))
    note('seed %d (SEED=%d repeats it)' % (value, value))
    return random.Random(value)


def finish():
    for server in servers:
        if server.process and server.process.poll() is None:
            server.process.kill()
            server.process.wait()
        if _failed:
            note('left for a look: ' + server.dir)
        else:
            shutil.rmtree(server.dir, ignore_errors=True)
    print('1..%d' % _count)
    sys.exit(1 if _failed else 0)


def run(main):
    try:
        main()
    except Exception:           # a test that breaks off has failed
        import traceback
        ok(False, 'the test runs to its end', traceback.format_exc())
        for server in servers:
            if os.path.exists(server.log):
                note(server.dir + ':')
                for line in server.text().splitlines()[-20:]:
                    note('  ' + line)
    finish()
