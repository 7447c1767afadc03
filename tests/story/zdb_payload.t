#!/usr/bin/python3
# How values leave: copied, sent from memory, or from their file by the kernel, each byte right whoever else asks for what meanwhile.
import os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from zdb_lib import *

OK = Status('OK')
# around the borders of what is copied, sent from the server's memory, and from the file
SIZES = [0, 1, 200, 511, 512, 1023, 1024, 4096, 16383, 16384, 65535, 65536, 67300, 67400, 67600, 131072, 262144, 1000000, 8388608]


def value_of(size):
    return (b'%08d' % size + bytes(range(251)) * (size // 251 + 1))[:size]


def sizes(s, tcp):
    note('every size, %s' % ('TCP' if tcp else 'unix socket'))
    c = s.client(tcp)
    for size in SIZES:
        value = value_of(size)
        c('SET', 'k%d' % size, value)
        ok(c('GET', 'k%d' % size) == value, '%d bytes come back' % size)
        ok(c('GETRANGE', 'k%d' % size, size // 3, size // 3 + size // 2) == value[size // 3:size // 3 + size // 2 + 1], 'so does half of them')
        ok(c('GETRANGE', 'k%d' % size, size // 2, size // 2 + 7) == value[size // 2:size // 2 + 8], 'and a few')
    c.sock.sendall(b''.join(Client.pack('GET', 'k%d' % size) + Client.pack('PING') for size in SIZES) + Client.pack('MGET', *['k%d' % size for size in SIZES]))
    ok(all(c.reply() == value_of(size) and c.reply() == Status('PONG') for size in SIZES), 'in one pipeline, between other replies')
    got = c.reply()
    ok(got == [value_of(size) for size in SIZES], 'and as one MGET')
    c.close()


ASKED = [1000000, 131072, 4096, 67600] * 5


def many_readers(s):
    note('many readers, some of them slow')
    readers = [s.client(tcp=i % 2 == 1) for i in range(24)]
    for i, c in enumerate(readers):
        c.sock.sendall(b''.join(Client.pack('GET', 'k%d' % size) for size in ASKED))
    for i in range(0, len(readers), 3):
        readers[i].close()
    ok(s.client()('PING') == Status('PONG'), 'readers of large values stop nobody')
    good = True
    for i, c in enumerate(readers):
        if i % 3:
            good = good and all(c.reply() == value_of(size) for size in ASKED)
    ok(good, 'each gets its values whole, in its order')


def descriptors(s):
    return len(os.listdir('/proc/%d/fd' % s.process.pid))


def released(s, before):
    ok(wait_until(lambda: descriptors(s) <= before), 'nothing of those who left stays open', '%d, before %d' % (descriptors(s), before))


def writes_and_reads(policy):
    note('--fsync %s: a pipeline of writes and reads' % policy)
    s = Server('payload', '--mode', 'user', '--fsync', policy, tcp=True).start()
    for tcp in False, True:
        c = s.client(tcp)
        big = [os.urandom(200000) for _ in range(4)]
        c.sock.sendall(b''.join(Client.pack('SET', 'p', v) + Client.pack('GET', 'p') + Client.pack('SET', 'q', v[:3000]) + Client.pack('GET', 'q') for v in big))
        got = [c.reply() for _ in range(16)]
        ok(got == [x for v in big for x in (b'p', v, b'q', v[:3000])], 'every GET sees the SET before it')
    s.stop()


def damaged():
    note('a damaged value')
    s = Server('payload', '--mode', 'user').start()
    c = s.client()
    value = value_of(300000)
    c('SET', 'a', value)
    c('SET', 'b', value)
    c('SYNC')
    with open(s.file('data', 'default', 'd0'), 'r+b') as f:
        f.seek(28 + 18 + 1 + 150000)
        f.write(b'\xff')
    equal(c('GET', 'a'), Error('Internal Error'), 'is an error before its first byte leaves')
    equal(c('MGET', 'a', 'b') == [Error('Internal Error'), value], True, 'one item of an MGET')
    equal(c('GETRANGE', 'a', 0, 299999), Error('Internal Error'), 'and a range of more than half')
    ok(c('GET', 'b') == value, 'the next value comes whole on the same connection')
    s.stop()


def evicted():
    note('a segment that goes away while it is read')
    s = Server('payload', '--mode', 'user', '--datasize', '8M').start()
    c = s.client()
    value = os.urandom(6 << 20)
    c('SET', 'v', value)
    c('NSJUMP')
    reader = s.client()
    reader.send('GET', 'v')
    reader.sock.recv(1)          # it has begun, and the rest does not fit the socket
    os.unlink(s.file('data', 'default', 'd0'))
    reader.data = b'$'
    ok(reader.reply() == value, 'is sent to its end')
    s.stop()


def main():
    s = Server('payload', '--mode', 'user', '--datasize', '64M', tcp=True).start()
    for tcp in False, True:
        sizes(s, tcp)
    before = descriptors(s)
    many_readers(s)
    released(s, before)
    s.stop()
    for policy in 'no', 'always':
        writes_and_reads(policy)
    damaged()
    evicted()


run(main)
