#!/usr/bin/python3
# A full disk: errors for who writes, every answered value for who reads, and service as soon as there is room. On a tmpfs, on ext4, and on ext2, where
# nothing can be preallocated, each in a mount namespace of its own; with a limit on file sizes as well. Needs root.
import os, struct, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from zdb_lib import *

OK = Status('OK')
FULL = Error('Cannot write data right now')
DISK = 8 << 20
BALLAST = 2 << 20       # given back when room is to be made
SMALL, BIG = 200, 131072


def mount(kind, where):
    """Whether a file system of DISK bytes is mounted at `where`."""
    if kind == 'tmpfs':
        return subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=%d' % DISK, 'none', where]).returncode == 0
    image = where + '.img'
    with open(image, 'wb') as f:
        f.truncate(DISK)
    quiet = {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL}
    if subprocess.run(['mkfs.' + kind, '-q', '-m', '0', image], **quiet).returncode:
        return False
    return subprocess.run(['mount', '-o', 'loop', image, where], **quiet).returncode == 0


class Disk(Server):
    """A server whose data and index lie on a small file system; log and socket do not."""

    def __init__(self, kind, *options):
        super().__init__('full-' + kind, *options)
        self.disk = self.file('disk')
        os.mkdir(self.disk)
        self.mounted = mount(kind, self.disk)
        if self.mounted:
            for name in 'data', 'index':
                os.mkdir(os.path.join(self.disk, name))
                os.symlink(os.path.join(self.disk, name), self.file(name))
            self.ballast()

    def ballast(self, size=BALLAST):
        with open(os.path.join(self.disk, 'ballast'), 'wb') as f:
            f.write(bytes(size))

    def room(self):
        os.unlink(os.path.join(self.disk, 'ballast'))

    def unmount(self):
        if self.process:
            self.kill()
        if self.mounted:
            subprocess.run(['umount', self.disk], check=True)
        self.mounted = False


class Filler:
    """Writes numbered values and remembers what was answered."""

    def __init__(self, s, sequential, size):
        self.s, self.sequential, self.size, self.n, self.have = s, sequential, size, 0, {}

    def value(self, n):
        return struct.pack('<Q', n) * (self.size // 8)

    def request(self):
        self.n += 1
        key = b'' if self.sequential else b'key%07d' % self.n
        return key, self.value(self.n)

    def keep(self, key, value, got):
        """Whether it was taken."""
        if isinstance(got, Error):
            return got
        self.have[got] = value
        assert got == key or self.sequential
        return None

    def until_full(self, c, depth):
        """Pipelines until an error comes; the errors."""
        errors = []
        while not errors:
            batch = [self.request() for _ in range(depth)]
            c.sock.sendall(b''.join(c.pack('SET', *b) for b in batch))
            errors = [e for e in [self.keep(*b, c.reply()) for b in batch] if e is not None]
        return errors

    def one(self, c):
        key, value = self.request()
        return self.keep(key, value, c('SET', key, value))

    def all_there(self, c, what):
        wrong, keys = [], list(self.have)
        step = min(1000, (8 << 20) // self.size)
        for at in range(0, len(keys), step):
            got = c('MGET', *keys[at:at + step])
            wrong += [k for k, v in zip(keys[at:at + step], got) if not same(v, self.have[k])]
        size = c('DBSIZE')
        ok(not wrong and size == len(keys), what, '%d of %d wrong, %s listed: %s' % (len(wrong), len(keys), size, wrong[:3]))


def check(s, what):
    done = subprocess.run([QSFS, 'zdb', 'check', s.dir], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT)
    ok(done.returncode == 0, what, done.stdout.decode(errors='replace'))


def fill(kind, mode, policy, size):
    name = '%s, %s mode, --fsync %s, %d bytes' % (kind, mode, policy, size)
    note(name)
    s = Disk(kind, '--mode', mode, '--fsync', policy, '--datasize', '3M')
    if not s.mounted:
        note('cannot be mounted here')
        return
    c = s.start().client()
    f = Filler(s, mode == 'seq', size)
    errors = f.until_full(c, 64 if size == SMALL else 4)
    ok(len(f.have) * size > BALLAST and all(same(e, FULL) for e in errors), 'full: an error that says so', '%d values, %s' % (len(f.have), set(errors)))
    f.all_there(c, 'everything that was answered is there (%d values)' % len(f.have))
    again = [f.one(c) for _ in range(20)]
    ok(all(e is None or same(e, FULL) for e in again), 'more: taken or refused', set(again))
    gone = list(f.have)[:3]
    deleted = [c('DEL', k) for k in gone]
    ok(all(same(r, OK) for r in deleted), 'DEL goes on a full disk', deleted)
    for k, r in zip(gone, deleted):
        if same(r, OK):
            del f.have[k]
    f.all_there(c, 'and nothing else changed')
    equal([c('SYNC', 'INDEX'), c('SYNC')], [OK, OK], 'what is there can be synced, with its index')
    made = c('NSNEW', 'other')
    ok(made in ('OK', 'Could not create namespace') and (made == 'OK') == (b'other' in c('NSLIST')), 'a namespace is made or refused', made)
    equal(s.stop(), 143, 'a stop')
    check(s, 'check finds nothing wrong')
    c = s.start().client()
    f.all_there(c, 'a start on the full disk: all is there')
    f.one(c)
    s.kill()
    c = s.start().client()
    f.all_there(c, 'and after kill -9')
    s.room()
    equal([f.one(c) for _ in range(5)], [None] * 5, 'with room it goes on at once')
    equal(c('SYNC'), OK, 'durably')
    f.all_there(c, 'with what was there before')
    s.stop()
    check(s, 'check finds nothing wrong in the end')


def limited():
    """RLIMIT_FSIZE: EFBIG, without a signal that kills."""
    note('a limit on file sizes')
    s = Server('fsize', '--mode', 'user')
    limit = 1 << 20
    argv = s.command
    s.command = lambda: ['prlimit', '--fsize=%d' % limit] + argv()
    c = s.start().client()
    f = Filler(s, False, SMALL)
    errors = f.until_full(c, 64)
    ok(all(same(e, FULL) for e in errors) and len(f.have) * SMALL > limit / 2, 'the same error', '%d values, %s' % (len(f.have), set(errors)))
    f.all_there(c, 'everything that was answered is there')
    equal(s.stop(), 143, 'a stop')
    check(s, 'check finds nothing wrong')


def main():
    try:
        for kind in 'tmpfs', 'ext4', 'ext2':
            fill(kind, 'user', 'no', SMALL)
            fill(kind, 'seq', 'always', SMALL)
            fill(kind, 'user', 'always', BIG)
            fill(kind, 'seq', 'no', BIG)
        limited()
    finally:
        for s in servers:
            if isinstance(s, Disk):
                s.unmount()


private_mounts()
run(main)
