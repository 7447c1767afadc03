#!/usr/bin/python3
# Big values to many clients at once while their segments are written, rotated, evicted, brought back, compacted, damaged and cut: each byte of each reply is
# right, or the reply is an error; a client that goes away costs nobody else anything. SEED repeats a run.
import os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from zdb_lib import *
import hashlib, re, struct, threading

OK = Status('OK')
FAILED = Error('Internal Error')
HOOK = '''#!/bin/sh
case $1 in
missing-data) cp "${0%/*}/kept/${3##*/}" "$3.part" && mv "$3.part" "$3" ;;
esac
'''
KEYS = 30
NOISE = os.urandom(1 << 20)


def size_of(key):
    return 70000 + key * 9000


def value_of(key, version):
    """Bytes that no other version and no other key has at the same place."""
    at = (key * 7919 + version * 104729) % (len(NOISE) - 400000)
    return b'%04d %06d ' % (key, version) + NOISE[at:at + size_of(key) - 12]


class Readers:
    """Clients that read random keys until they are told to stop, and compare every byte; now and then the page cache forgets a segment."""

    def __init__(self, s, rng, count, versions):
        self.s, self.versions, self.over, self.bad, self.read = s, versions, False, [], 0
        self.threads = [threading.Thread(target=self.play, args=(random.Random(rng.random()), i % 2 == 1)) for i in range(count)]
        self.threads.append(threading.Thread(target=self.cool, args=(random.Random(rng.random()),)))
        for t in self.threads:
            t.start()

    def cool(self, rng):
        directory = self.s.file('data', 'default')
        while not self.over:
            names = [n for n in os.listdir(directory) if re.fullmatch('d[0-9]+', n)]
            try:
                fd = os.open(os.path.join(directory, rng.choice(names)), os.O_RDONLY)
            except FileNotFoundError:
                continue                   # evicted or compacted away
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)
            time.sleep(rng.random() / 100)

    def play(self, rng, tcp):
        try:
            c = self.s.client(tcp)
            while not self.over:
                keys = [rng.randrange(KEYS) for _ in range(rng.randrange(1, 5))]
                least = [self.versions[k] for k in keys]
                c.sock.sendall(b''.join(Client.pack('GET', 'k%d' % k) for k in keys))
                for key, version in zip(keys, least):
                    got = c.reply()
                    if not isinstance(got, bytes) or int(got[:4]) != key or int(got[5:11]) < version or got != value_of(key, int(got[5:11])):
                        raise ValueError('key %d: %.60r' % (key, got))
                    self.read += 1
            c.close()
        except Exception as e:
            self.bad.append(repr(e))

    def stop(self, what):
        self.over = True
        for t in self.threads:
            t.join()
        ok(not self.bad and self.read > 0, '%s: %d values were right' % (what, self.read), '\n'.join(self.bad))


def put(c, versions, key):
    assert c('SET', 'k%d' % key, value_of(key, versions[key] + 1)) == b'k%d' % key
    versions[key] += 1


def evict_some(rng, s, c):
    directory, count = s.file('data', 'default'), 0
    numbers = sorted(int(n[1:]) for n in os.listdir(directory) if re.fullmatch('d[0-9]+', n))
    for n in numbers[:-1]:
        path = os.path.join(directory, 'd%d' % n)
        with open(path, 'rb') as f:
            data = f.read()
        with open(s.file('kept', 'd%d' % n), 'wb') as f:
            f.write(data)
        if rng.random() < 0.6 and c('EVICT', 'default', n, 'b2:' + hashlib.blake2b(data[:16] + bytes(8) + data[24:], digest_size=16).hexdigest()) == OK:
            count += 1
    return count


def moving(rng):
    note('segments that come and go under readers')
    s = Server('big', '--mode', 'user', '--datasize', '2M', '--hook', '{dir}/hook', tcp=True)
    os.mkdir(s.file('kept'))
    with open(s.file('hook'), 'w') as f:
        f.write(HOOK)
    os.chmod(s.file('hook'), 0o755)
    s.start()
    c, versions, evicted = s.client(), [0] * KEYS, 0
    for key in range(KEYS):
        put(c, versions, key)
    readers = Readers(s, rng, 6, versions)
    for _ in range(12):
        for _ in range(8):
            put(c, versions, rng.randrange(KEYS))
        evicted += evict_some(rng, s, c)
    readers.stop('while segments are written and evicted')
    ok(evicted > 3, 'segments were evicted', evicted)
    ok(all(c('GET', 'k%d' % k) == value_of(k, versions[k]) for k in range(KEYS)), 'the last version of each is there')
    s.stop()


def compacted(rng):
    note('compaction under readers')
    s = Server('big', '--mode', 'user', '--datasize', '2M', tcp=True).start()
    c, versions = s.client(), [0] * KEYS
    for key in list(range(KEYS)) * 2:
        put(c, versions, key)
    readers = Readers(s, rng, 6, versions)
    rewritten = 0
    for _ in range(6):
        for _ in range(10):
            put(c, versions, rng.randrange(KEYS))
        rewritten += int(re.search(r'rewritten: *(\d+)', c('COMPACT', 'KEEP', 'NONE', 'THRESHOLD', '1').decode()).group(1))
    readers.stop('while segments are compacted')
    ok(rewritten > 3, 'segments were rewritten', rewritten)
    s.stop()


def vanishing(rng, s, versions):
    note('clients that vanish in the middle of a reply')
    c, good = s.client(), 0
    ok(all(c('GET', 'k%d' % k) == value_of(k, versions[k]) for k in range(KEYS)), 'all is there')
    before = len(os.listdir('/proc/%d/fd' % s.process.pid))
    readers = Readers(s, rng, 2, versions)
    for i in range(60):
        gone = [s.client(tcp=(i + j) % 2 == 1) for j in range(8)]
        for c in gone:
            c.sock.sendall(b''.join(Client.pack('GET', 'k%d' % rng.randrange(KEYS)) for _ in range(6)))
        for c in gone:
            if rng.random() < 0.5:
                c.sock.recv(rng.randrange(1, 100000))
            if rng.random() < 0.5:
                c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            c.close()
        # they get the descriptors of those who left
        new = [(rng.randrange(KEYS), s.client(tcp=j % 2 == 1)) for j in range(4)]
        for key, c in new:
            c.send('GET', 'k%d' % key)
        for key, c in new:
            good += c.reply() == value_of(key, versions[key])
            c.close()
    equal(good, 240, 'who comes after them gets what he asked for')
    readers.stop('and so do those who stay')
    ok(wait_until(lambda: len(os.listdir('/proc/%d/fd' % s.process.pid)) <= before), 'nothing of them stays open')


def slow(s, versions):
    note('a client that takes its replies slowly')
    for tcp in False, True:
        c, other = s.client(tcp), s.client(not tcp)
        keys = [i % KEYS for i in range(90)]
        c.sock.sendall(b''.join(Client.pack('GET', 'k%d' % k) for k in keys))
        good = True
        for i, key in enumerate(keys):
            good = good and c.reply() == value_of(key, versions[key])
            if i % 10 == 0:
                good = good and other('GET', 'k%d' % (key + 1)) == value_of(key + 1, versions[key + 1])
        ok(good, 'gets them whole, %s' % ('TCP' if tcp else 'unix socket'))
        asked = b''.join(Client.pack('GET', 'k1') + Client.pack('SET', 'other', b'%d %06d' % (tcp, i) * 12000) + Client.pack('MGET', 'k2', 'nothing', 'k3') +
                         Client.pack('GETRANGE', 'k4', 10, 60000) + Client.pack('GETRANGE', 'k5', 90000, 90100) for i in range(30))
        sender = threading.Thread(target=c.sock.sendall, args=(asked,))
        sender.start()
        want = [value_of(1, versions[1]), b'other', [value_of(2, versions[2]), None, value_of(3, versions[3])], value_of(4, versions[4])[10:60001], value_of(5, versions[5])[90000:90101]]
        ok(all([c.reply() for _ in range(5)] == want for _ in range(30)), 'also when it asks for all kinds of things')
        sender.join()
        c.close()


def damaged(s, versions):
    note('bytes that change, and a file that is cut, under a map')
    clients = [s.client(), s.client(tcp=True)]
    path = s.file('data', 'default', 'd0')
    for c in clients:
        ok(c('GET', 'k0') == value_of(0, versions[0]), 'a value is right')
    with open(path, 'r+b') as f:
        f.seek(28 + 18 + 2 + 30000)
        old = f.read(1)
        f.seek(-1, 1)
        f.write(bytes([old[0] ^ 1]))
    for c in clients:
        equal(c('GET', 'k0'), FAILED, 'with one bit changed it is an error')
        ok(c('GET', 'k1') == value_of(1, versions[1]), 'the next is right, on the same connection')
    size = os.path.getsize(path)
    os.truncate(path, 28 + 18 + 2 + 70000 + 4096)
    for _ in range(3):
        for c in clients:
            equal(c('MGET', 'k1', 'k29') == [FAILED, value_of(29, versions[29])], True, 'a value that was cut off is an error, one elsewhere is right')
    ok(size > os.path.getsize(path) and s.client()('PING') == Status('PONG'), 'the server lives')


def main():
    rng = seed()
    moving(rng)
    compacted(rng)
    s = Server('big', '--mode', 'user', '--datasize', '4M', tcp=True).start()
    c, versions = s.client(), [0] * KEYS
    for key in range(KEYS):
        put(c, versions, key)
    vanishing(rng, s, versions)
    slow(s, versions)
    damaged(s, versions)
    s.kill()


run(main)
