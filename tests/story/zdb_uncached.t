#!/usr/bin/python3
# Large values in a stream, which leave the page cache when they are on the disk: every byte is right while they are on their way, from the disk, and after a
# kill; and the cache has not kept all of them. SEED repeats a run.
import os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from zdb_lib import *
import ctypes, re, struct, threading

KEYS = 64
ROUNDS = 16
SIZE = 200000
NOISE = os.urandom(1 << 20)
DONTCACHE = 0x80
CACHESTAT = 451


def value_of(key, version):
    """Bytes that no other version and no other key has at the same place; lengths that never end with a page."""
    at = (key * 7919 + version * 104729) % (len(NOISE) - 2 * SIZE)
    return b'%04d %06d ' % (key, version) + NOISE[at:at + SIZE + key * 37 - 12]


def is_right(got, key, least):
    return isinstance(got, bytes) and int(got[:4]) == key and int(got[5:11]) >= least and got == value_of(key, int(got[5:11]))


def possible(directory):
    """Whether the file system and the kernel have such writes, and the server trusts them."""
    release = [int(re.match('[0-9]*', part).group() or 0) for part in os.uname().release.split('.')[:2]]
    path = os.path.join(directory, 'probe')
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        os.pwritev(fd, [b'x' * 4096], 0, DONTCACHE)
        return release >= [6, 18]
    except OSError:
        return False
    finally:
        os.close(fd)
        os.unlink(path)


def cached(path):
    """The part of a file that is in the page cache, 0 to 1."""
    fd = os.open(path, os.O_RDONLY)
    size, got = os.fstat(fd).st_size, (ctypes.c_uint64 * 5)()
    code = ctypes.CDLL(None).syscall(CACHESTAT, fd, struct.pack('QQ', 0, 0), got, 0)
    os.close(fd)
    return got[0] * 4096 / size if code == 0 else None


class Stream:
    """A client that rewrites its keys as fast as the server takes it: the kernel sends what lies in a file, the replies are read by another thread."""

    def __init__(self, s, keys, versions):
        self.keys, self.versions, self.bad, self.c = keys, versions, [], s.client()
        self.fd = os.memfd_create('requests')
        for version in range(1, ROUNDS + 1):
            os.write(self.fd, b''.join(Client.pack('SET', 'k%d' % k, value_of(k, version)) for k in keys))
        self.threads = [threading.Thread(target=self.guarded, args=(what,)) for what in (self.send, self.take)]

    def start(self):
        for t in self.threads:
            t.start()

    def is_over(self):
        return not any(t.is_alive() for t in self.threads)

    def guarded(self, what):
        try:
            what()
        except Exception as e:
            self.bad.append(repr(e))

    def send(self):
        with open(self.fd, 'rb') as requests:
            self.c.sock.sendfile(requests)

    def take(self):
        for version in range(1, ROUNDS + 1):
            for k in self.keys:
                got = self.c.reply()
                if got != b'k%d' % k:
                    raise ValueError('SET k%d: %.60r' % (k, got))
                self.versions[k] = version


def readers_beside(s, rng, streams, versions):
    c, count = s.client(), 0
    while not all(t.is_over() for t in streams):
        k = rng.randrange(KEYS)
        least = versions[k]
        got = c('GET', 'k%d' % k)
        if (least or got is not None) and not is_right(got, k, least):
            return ok(False, 'a value read while it is written', 'k%d, version %d or later: %.60r' % (k, least, got))
        count += 1
    return ok(count > 0, '%d values read while others are written' % count)


def all_there(s, what):
    c = s.client()
    wrong = [k for k in range(KEYS) if not is_right(c('GET', 'k%d' % k), k, ROUNDS)]
    return ok(not wrong, what, wrong)


rng = seed()
s = Server('uncached', '--mode', 'user', '--datasize', '64M').start()
versions = [0] * KEYS
streams = [Stream(s, range(n, KEYS, 8), versions) for n in range(8)]
for t in streams:
    t.start()
readers_beside(s, rng, streams, versions)
bad = [b for t in streams for b in t.bad]
ok(not bad, 'every SET was answered', bad)
files = sorted((f for f in os.listdir(s.file('data', 'default')) if re.fullmatch('d[0-9]+', f)), key=lambda f: int(f[1:]))
ok(len(files) > 1, 'segments were closed', files)
c = s.client()
equal(c('SYNC'), Status('OK'), 'SYNC')
parts = [cached(s.file('data', 'default', f)) for f in files[:-1]]
if possible(s.dir) and None not in parts:
    ok(sum(parts) / len(parts) < 0.9, 'the page cache has not kept all of it', parts)
else:
    note('this kernel or file system has no uncached writes that are trusted: the cache was not looked at')
all_there(s, 'the last versions, from the disk')
all_there(s, 'and once more')
s.kill()
s.start()
all_there(s, 'the last versions after a kill')
finish()
