#!/usr/bin/python3
# Everything a client can do wrong, slowly or in excess: an error or a closed connection for it, service for all others.
import os, resource, select, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from zdb_lib import *

OK = Status('OK')


def alive(s):
    return s.process.poll() is None and s.client()('PING') == Status('PONG')


def wrong_requests(s):
    note('malformed requests')
    for raw, want in [
        (b'PING\r\n', 'Malformed request, array expected'), (b'\r\n', 'Malformed request, array expected'), (b'+OK\r\n', 'Malformed request, array expected'),
        (b'GET / HTTP/1.1\r\nHost: x\r\n\r\n', 'Malformed request, array expected'), (b'*0\r\n', 'Missing arguments'), (b'*x\r\n', 'Missing arguments'),
        (b'*1025\r\n', 'Too many arguments'), (b'*-1\r\n', 'Internal memory error'), (b'*1\r\n:1\r\n', 'Malformed query string'), (b'*1\r\n*1\r\n', 'Malformed query string'),
        (b'*1\r\n$8388609\r\n', 'Payload too big'), (b'*1\r\n$-5\r\n', 'Internal memory error'), (b'*1\r\n$-1\r\n', 'Internal memory error'),
    ]:
        c = s.client()
        c.sock.sendall(c.pack('PING') + raw + c.pack('PING'))
        equal([c.reply(), c.reply()], [Status('PONG'), Error(want)], '%r' % raw[:30])
        ok(c.closed(), 'and the connection is closed')
    c = s.client()
    c.sock.sendall(b'*1' + b'1' * 9000)
    ok(c.closed(), 'a header line without an end: closed')
    ok(alive(s), 'others are served')


def fragments(s, address):
    note('fragments on ' + str(address))
    value = bytes(range(256)) * 80
    request = Client.pack('SET', 'frag', value) + Client.pack('GET', 'frag') + Client.pack('DEL', 'frag')
    whole = b'$4\r\nfrag\r\n$%d\r\n' % len(value) + value + b'\r\n+OK\r\n'
    for cuts in [[1, 2, 3, 5, 8], [8191], [8192], [8193], [len(request) - 1], list(range(1, 60))]:
        c = Client(address)
        at = 0
        for cut in cuts + [len(request)]:
            c.sock.sendall(request[at:cut])
            at = cut
        equal(c._bytes(len(whole)) == whole, True, 'cut at %s' % str(cuts)[:40])
    c = Client(address)
    for i in range(len(request[:200])):
        c.sock.sendall(request[i:i + 1])
    c.sock.sendall(request[200:])
    equal(c._bytes(len(whole)) == whole, True, 'byte by byte')


def bounds(s):
    note('bounds')
    c = s.client()
    big = os.urandom(1 << 20) * 8
    equal(c('SET', 'big', big), b'big', 'a payload of 8 MiB')
    ok(c('GET', 'big') == big, 'comes back')
    equal(c('GETRANGE', 'big', 8388600, 8388700), big[8388600:], 'and its end')
    equal(len(c('MGET', *['k%d' % i for i in range(1023)])), 1023, '1024 arguments')
    replies = c('BATCH', *sum([['SET', 'b%d' % i, 'x'] for i in range(341)], []))
    equal(replies, [b'b%d' % i for i in range(341)], 'a batch of 1024 arguments')
    c.send('BATCH', *sum([['SET', 'huge%d' % i, big] for i in range(8)], []))
    got = c.reply()
    equal(got, Error('Payload too big'), 'a batch of more than 64 MiB')
    c = s.client()
    c.send('MGET', *['big'] * 40)
    got = c.reply()
    ok(len(got) == 40 and all(x == big for x in got), 'MGET of 320 MiB: in pieces, as fast as it is taken')
    rss = memory(s)
    ok(rss < 200 << 20, 'which the server never held at once', '%d MiB' % (rss >> 20))
    equal(c('DEL', 'big'), OK, 'and the connection goes on')


def memory(s, what='VmHWM'):
    with open('/proc/%d/status' % s.process.pid) as f:
        return [int(line.split()[1]) << 10 for line in f if line.startswith(what)][0]


def pipelines(s):
    note('long pipelines')
    count = 100000
    for address in s.path, ('127.0.0.1', s.port):
        c = Client(address)
        request = b''.join(Client.pack('SET', 'p%d' % (i % 1000), 'v%d' % i) for i in range(count))
        sent, got = 0, 0
        data = b''
        c.sock.setblocking(False)
        end = time.monotonic() + LIMIT
        while got < count and time.monotonic() < end:
            r, w, _ = select.select([c.sock], [c.sock] if sent < len(request) else [], [], 1)
            if w:
                sent += c.sock.send(request[sent:sent + 65536])
            if r:
                data += c.sock.recv(1 << 20)
                got += data.count(b'\r\np')
                data = data[data.rfind(b'\r\np') + 2:] if b'\r\np' in data else data
        equal(got, count, '%d commands, read while written' % count)
        c.close()
    c = s.client()
    c.sock.settimeout(LIMIT)
    request = b''.join(Client.pack('GET', 'p%d' % (i % 1000)) for i in range(count))
    c.sock.setblocking(False)
    sent = 0
    # written without reading: the server must stop taking more, not grow and not hang
    while select.select([], [c.sock], [], 0.5)[1] and sent < len(request):
        try:
            sent += c.sock.send(request[sent:sent + 65536])
        except BlockingIOError:
            pass
    ok(memory(s, 'VmRSS') < 200 << 20, 'a writer that reads nothing does not fill the memory')
    ok(alive(s), 'nor stop others')
    c.sock.setblocking(True)
    c.sock.settimeout(LIMIT)
    whole = sent // len(Client.pack('GET', 'p000')) // 2
    ok(all(c.reply() is not None for _ in range(whole)), 'and gets its answers when it reads')


def slow_and_gone(s):
    note('slow readers, clients that vanish')
    c = s.client()
    value = os.urandom(1 << 20)
    c('SET', 'v', value)
    slow = [s.client() for _ in range(20)]
    for x in slow:
        for _ in range(20):
            x.send('GET', 'v')
    ok(alive(s), 'readers of 400 MiB that take nothing stop nobody')
    ok(memory(s, 'VmRSS') < 300 << 20, 'and hold little memory', memory(s, 'VmRSS') >> 20)
    ok(all(x.reply() == value for x in slow for _ in range(20)), 'each gets all of it in the end')
    for cut in 1, 10, 30, 5000:
        gone = s.client()
        gone.sock.sendall(Client.pack('SET', 'half', 'x' * 10000)[:cut])
        gone.close()
    gone = s.client()
    for _ in range(50):
        gone.send('GET', 'v')
    gone.close()
    gone = s.client()
    gone.send('SYNC')
    gone.send('WAIT', 'SET', '60000')
    gone.close()
    half = s.client()
    half.send('GET', 'v')
    half.sock.shutdown(socket.SHUT_WR)
    ok(half.reply() == value and half.closed(), 'a client that only stops asking gets its answer')
    equal(c('GET', 'half'), None, 'half a request does nothing')
    ok(alive(s), 'the server goes on')


def many(s):
    note('10,000 connections')
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    want = 10000
    if hard != resource.RLIM_INFINITY and hard < want + 100:
        want = hard - 200
        note('only %d: the limit of descriptors is %d' % (want, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, want + 100), hard))
    before = memory(s, 'VmRSS')
    clients = [s.client() for _ in range(want)]
    answers = 0
    for c in clients:
        c.send('PING')
    for c in clients:
        answers += c.reply() == Status('PONG')
    equal(answers, want, '%d are served' % want)
    each = (memory(s, 'VmRSS') - before) / want
    ok(each <= 4096, 'an idle one takes at most 4 KiB', '%d bytes' % each)
    note('%d bytes each' % each)
    big = b'x' * 100000
    for c in clients[:2000:20]:
        c('SET', 'q', big)
        c('GET', 'q')
    each = (memory(s, 'VmRSS') - before) / want
    ok(each <= 4096 + 1024, 'also after it was busy', '%d bytes' % each)
    for c in clients:
        c.close()
    ok(alive(s), 'they leave, it stays')


def too_many():
    s = Server('few', '--clients', '3').start()
    clients = [s.client() for _ in range(3)]
    equal([c('PING') for c in clients], [Status('PONG')] * 3, '--clients 3: three')
    fourth = s.client()
    equal(fourth.reply(), Error('Too many clients'), 'the fourth is refused with a message')
    ok(fourth.closed(), 'and closed')
    clients[0].close()
    ok(wait_until(lambda: try_ping(s)), 'until one leaves')


def try_ping(s):
    c = s.client()
    try:
        return c('PING') == Status('PONG')
    except Closed:
        return False
    finally:
        c.close()


def policies():
    note('fsync policies')
    for policy in 'always', 'everysec', 'no':
        s = Server('fsync', '--fsync', policy, '--mode', 'user').start()
        clients = [s.client() for _ in range(50)]
        for n, c in enumerate(clients):
            c.sock.sendall(b''.join(Client.pack('SET', 'c%d.%d' % (n, i), 'v') for i in range(20)) + Client.pack('SYNC') + Client.pack('GET', 'c%d.0' % n) +
                           Client.pack('NSNEW', 'n%d' % n) + Client.pack('SELECT', 'n%d' % n) + Client.pack('SET', 'in', 'n') + Client.pack('DBSIZE'))
        want = [[b'c%d.%d' % (n, i) for i in range(20)] + [OK, b'v', OK, OK, b'in', 1] for n in range(50)]
        equal([[c.reply() for _ in range(26)] for c in clients], want, '--fsync %s: 50 clients, pipelines with SYNC and SELECT in order' % policy)
        equal(s.kill(), -9, 'killed')
        s.start()
        equal(s.client()('DBSIZE'), 1000, 'nothing that was answered is lost')
        s.stop()


def descriptors():
    note('a descriptor that is cut short')
    s = Server('descriptor', '--mode', 'user').start()
    c = s.client()
    for name in 'used', 'fresh':
        c('NSNEW', name)
    c('SELECT', 'used')
    c('SET', 'k', 'v')
    s.stop()
    for name in 'used', 'fresh':
        os.truncate(s.file('index/%s/zdb-namespace' % name), 3)
    s.start()
    lines = [line for line in s.text().splitlines() if 'zdb-namespace was missing or cut short' in line]
    ok(len(lines) == 1 and 'namespace=used' in lines[0], 'the start warns that its password and limits are gone', lines)
    s.stop()


def main():
    s = Server('robust', '--mode', 'user', tcp=True).start()
    wrong_requests(s)
    fragments(s, s.path)
    fragments(s, ('127.0.0.1', s.port))
    bounds(s)
    pipelines(s)
    slow_and_gone(s)
    s.stop()
    s = Server('many', '--mode', 'user').start()
    many(s)
    too_many()
    policies()
    descriptors()


run(main)
