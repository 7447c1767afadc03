#!/usr/bin/python3
# redis-cli (and with it hiredis) as a client: every command in both modes as it reads the replies, binary values in and out, its pipe, what it asks of a
# redis that is not there. With ZDB_PEER=/path/to/zdb the original answers the same table.
import os, re, shutil, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from zdb_lib import *


def cli(s, *arguments, data=b'', tcp=False):
    """Exit code, output, messages."""
    where = ['-h', '127.0.0.1', '-p', str(s.port)] if tcp else ['-s', s.path]
    done = subprocess.run(['redis-cli', *where, *arguments], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LIMIT)
    return done.returncode, done.stdout, done.stderr


# (command line, what is shown): ... stands for one or more lines of any text
USER = [
    ('SET k v 1500000000', '"k"'), ('SET k v 1500000000', '(nil)'), ('SET k w 1500000001', '"k"'), ('SETX e "" 1500000002', '"e"'), ('GET k', '"w"'), ('GET e', '""'),
    ('GET none', '(nil)'), ('get "k"', '"w"'), (r'SET "\x00\r\n" "\xff\x00" 1500000003', r'"\x00\r\n"'), (r'GET "\x00\r\n"', r'"\xff\x00"'), ('MGET k none e', '1) "w"\n2) (nil)\n3) ""'),
    ('EXISTS k', '(integer) 1'), ('EXISTS none', '(integer) 0'), ('CHECK k', '(integer) 1'), ('CHECK none', '(nil)'), ('LENGTH k', '(integer) 1'), ('KEYTIME k', '(integer) 1500000001'),
    ('DBSIZE', '(integer) 3'), ('KEYCUR e', r'"\x01\x00\x00\x00\x00\x00\x00\x00\x00c\x00\x00\x00\x00\x00\x00\x00"'), ('KEYCUR none', '(error) Key not found'),
    ('SCAN', '1) ...\n2) 1) 1) "k"\n      2) (integer) 1\n      3) (integer) 1500000001\n   2) 1) "e"\n      2) (integer) 0\n      3) (integer) 1500000002\n'
             '   3) 1) "\\x00\\r\\n"\n      2) (integer) 2\n      3) (integer) 1500000003'),
    ('HISTORY k', r'1) "\x00\x00\x00\x00\x1d\x00\x00\x00"' + '\n2) "1500000001"\n3) "w"'), (r'HISTORY k "\x00\x00\x00\x00\x1d\x00\x00\x00"', '1) (nil)\n2) "1500000000"\n3) "v"'),
    ('DATA RAW 0 28', '1) "k"\n2) (integer) 0\n3) "0x5739b3e5"\n4) (integer) 0\n5) (integer) 1500000000\n6) "v"'), ('INDEX DIRTY', '1) (integer) 0'), ('INDEX DIRTY RESET', 'OK'),
    ('INDEX DIRTY', '(empty array)'), ('DEL k', 'OK'), ('DEL k', '(error) Key not found'), ('RSCAN short', '(error) Invalid key format'), ('NSJUMP', 'OK'), ('SET j v 1', '"j"'),
    ('FLUSH', '(error) Flushing public namespace denied'), ('KSCAN k', '(error) Command disabled in release code, not yet available'), ('GET', '(error) Unexpected arguments'),
    ('GET ""', '(error) Invalid argument'), ('SET "" v', '(error) Invalid argument, key needed'),
]
SEQ = [
    ('SET "" zero 1500000000', r'"\x00\x00\x00\x00\x00\x00\x00\x00"'), ('SET "" one 1500000001', r'"\x01\x00\x00\x00\x00\x00\x00\x00"'),
    (r'SET "\x00\x00\x00\x00\x00\x00\x00\x00" new 1500000002', r'"\x00\x00\x00\x00\x00\x00\x00\x00"'), (r'GET "\x00\x00\x00\x00\x00\x00\x00\x00"', '"new"'),
    ('SET "" three 1500000003', r'"\x03\x00\x00\x00\x00\x00\x00\x00"'), (r'GET "\x02\x00\x00\x00\x00\x00\x00\x00"', '(nil)'), (r'DEL "\x01\x00\x00\x00\x00\x00\x00\x00"', 'OK'),
    (r'DEL "\x01\x00\x00\x00\x00\x00\x00\x00"', '(error) Key not found'), ('SET other v', '(error) Invalid key, only update authorized'), ('DBSIZE', '(integer) 2'),
    (r'HISTORY "\x00\x00\x00\x00\x00\x00\x00\x00"', '1) ...\n2) "1500000002"\n3) "new"'), (r'LENGTH "\x03\x00\x00\x00\x00\x00\x00\x00"', '(integer) 5'),
    (r'MGET "\x00\x00\x00\x00\x00\x00\x00\x00" x', '1) "new"\n2) (nil)'), ('INDEX DIRTY', '1) (integer) 0'),
]
BOTH = [
    ('PING', 'PONG'), ('NSNEW n', 'OK'), ('NSNEW n', '(error) This namespace is not available'), ('NSSET n password pw', 'OK'), ('NSLIST', '1) "default"\n2) "n"'),
    ('NSINFO nosuch', '(error) Namespace not found'), ('SELECT n wrong', '(error) Access denied'), ('NSSET n public 0', 'OK'),
    ('NSDEL n', 'OK'), ('NSDEL n', "(error) This namespace doesn't exists"), ('RELOAD default', 'OK'), ('AUTH x', '(error) Authentication disabled'), ('WAIT NOSUCH', '(error) Unknown command to watch'),
    ('*', '(error) This is not a valid command'), ('HOOKS', '(empty array)'), ('TIME', '1) ...\n2) ...'),
    # what other servers know and this one does not
    ('COMMAND', '(error) Command not supported'), ('COMMAND DOCS', '(error) Command not supported'), ('CLIENT SETINFO LIB-NAME x', '(error) Command not supported'),
    ('CONFIG GET save', '(error) Command not supported'), ('FLUSHALL', '(error) Command not supported'), ('KEYS *', '(error) Command not supported'),
]


def shown_as(want, got):
    return re.fullmatch('.+'.join(re.escape(part) for part in want.split('...')), got) is not None


def every_row(s, rows, what):
    """Each row by a redis-cli of its own, quoted as it quotes."""
    wrong = []
    for command, want in rows:
        code, out, err = cli(s, '--no-raw', data=command.encode() + b'\n')
        got = re.sub(r'\n\(\d+\.\d\ds\)$', '', out.decode('latin1').rstrip('\n')) # redis-cli says what took more than half a second
        if not shown_as(want, got) or err:
            wrong.append('%s: %r, want %r %s' % (command, got, want, err))
    ok(not wrong, what + ': %d commands' % len(rows), '\n'.join(wrong))


def one_input(s):
    """Many commands on one connection, and through a pipe of raw requests."""
    code, out, err = cli(s, data=b''.join(b'SET line%d %d\n' % (n, n) for n in range(300)) + b'GET line299\n')
    ok(code == 0 and out.endswith(b'line299\n299\n') and not err, '300 commands from its input', (code, out[-100:], err))
    code, out, err = cli(s, '-r', '200', 'SET', 'same', 'v')
    ok(code == 0 and out.startswith(b'same\n') and out.count(b'\n') >= 200, 'one command 200 times', (code, out[-60:]))
    # its last request begins with an empty line and asks for an ECHO, which zdb knows as little as the original: all data are there before
    code, out, err = cli(s, '--pipe', '--pipe-timeout', '5', data=b''.join(Client.pack('SET', 'pipe%d' % n, 'x' * n) for n in range(2000)))
    c = s.client()
    have = [c('LENGTH', 'pipe%d' % n) for n in range(2000)]
    ok(b'All data transferred' in out and have == list(range(2000)), '--pipe brings everything', (code, out, err))
    equal(c('PING'), Status('PONG'), 'and others are served')


def binary(s):
    value = bytes(range(256)) * 300
    code, out, err = cli(s, '-x', 'SET', 'binary', data=value)
    equal((code, out), (0, b'binary\n'), '-x stores bytes')
    code, out, err = cli(s, 'GET', 'binary')
    ok(out == value + b'\n', 'GET gives them back')
    code, out, err = cli(s, 'GET', 'binary', tcp=True)
    ok(out == value + b'\n', 'over TCP too')
    code, out, err = cli(s, '--csv', 'MGET', 'binary', 'none')
    ok(out.endswith(b',NULL\n') and out.count(b'\\x00') == 300, 'and as text', out[:60])


def refused(s):
    for arguments, code, out, err in [
        (['-3', 'PING'], 0, b'PONG\n', b'HELLO 3 failed: Command not supported\n'), (['-e', 'NOSUCH'], 1, b'', b'Command not supported\n'),
        (['-n', '1', 'PING'], 0, b'PONG\n', b'SELECT 1 failed: Namespace not found\n'), (['--scan'], 1, b'', b'SCAN error: Invalid key format\n'),
        (['--no-auth-warning', '-a', 'x', 'PING'], 0, b'PONG\n', b'AUTH failed: Authentication disabled\n'), (['QUIT'], 0, b'Command not supported\n\n', b''),
        (['SUBSCRIBE', 'x'], 0, b'Command not supported\n\n', b''),
    ]:
        equal(cli(s, *arguments), (code, out, err), 'redis-cli ' + ' '.join(arguments))


def inline(s):
    for line in b'PING\r\n', b'GET k\r\n', b'\r\n':
        c = s.client()
        c.sock.sendall(line)
        equal(c.reply(), Error('Malformed request, array expected'), 'inline %r' % line)
        ok(c.closed(), 'and closed')


def play(kind, what):
    note(what)
    s = kind('clients', '--mode', 'user', tcp=True).start()
    every_row(s, BOTH, 'both modes')
    every_row(s, USER, 'user mode')
    one_input(s)
    binary(s)
    refused(s)
    inline(s)
    equal(s.stop(), 143, 'stop')
    s = kind('clients', '--mode', 'seq', tcp=True).start()
    every_row(s, BOTH + SEQ, 'sequential mode')
    equal(s.stop(), 143, 'stop')


def main():
    play(Server, 'ours')
    if PEER:
        play(Peer, 'the original')


if not shutil.which('redis-cli'):
    skip_all('no redis-cli: run make deps-test')
run(main)
