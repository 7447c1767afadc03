#!/usr/bin/python3
# Every command of 0-db in both modes: arguments, permissions, states, replies and error texts byte for byte; and our extensions.
import os, re, sys, struct, hashlib
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from zdb_lib import *

OK = Status('OK')
COUNT_WRONG = Error('Unexpected arguments')
INVALID = Error('Invalid argument')
DENIED = Error('Permission denied')
READ_ONLY = Error('Namespace is in read-only mode')
LOCKED = Error('Namespace is temporarily locked (read-only)')
FROZEN = Error('Namespace is temporarily frozen (read-write disabled)')


def table(c, rows):
    for words, want in rows:
        got = c(*words)
        shown = ' '.join(repr(w) if isinstance(w, bytes) else str(w) for w in words)[:80]
        equal(got, want, shown)


def every_command(c):
    """Wrong numbers of words, empty words; the same in both modes."""
    table(c, [
        (['ping'], Status('PONG')), (['PiNg', 'x', ''], Status('PONG')), (['NOSUCH'], Error('Command not supported')),
        ([''], Error('Command not supported')), (['PIN'], Error('Command not supported')), (['*'], Error('This is not a valid command')),
        (['HELLO', '3'], Error('Command not supported')), (['COMMAND'], Error('Command not supported')),
        (['GET'], COUNT_WRONG), (['GET', 'a', 'b'], COUNT_WRONG), (['GET', ''], INVALID), (['GET', 'k' * 256], Error('Invalid key')),
        (['SET', 'a'], COUNT_WRONG), (['SET', 'a', 'b', '1', '2'], COUNT_WRONG), (['SET', 'k' * 256, 'v'], Error('Key too large')),
        (['MGET'], Error('Invalid arguments')), (['MGET', 'k' * 256], Error('Invalid key')),
        (['DEL'], COUNT_WRONG), (['DEL', ''], INVALID), (['DEL', 'a', 'x'], INVALID), (['DEL', 'k' * 256], Error('Invalid key')),
        (['EXISTS'], COUNT_WRONG), (['EXISTS', ''], INVALID), (['EXISTS', 'k' * 256], Error('Invalid key')),
        (['CHECK', ''], INVALID), (['LENGTH', 'a', 'b'], COUNT_WRONG), (['KEYTIME'], COUNT_WRONG), (['KEYCUR', 'none'], Error('Key not found')),
        (['HISTORY'], Error('Invalid arguments')), (['HISTORY', 'a', 'b', 'c'], Error('Invalid arguments')),
        (['HISTORY', 'none'], Error('Key not found')), (['SCAN', 'short'], Error('Invalid key format')), (['RSCAN', ''], Error('Invalid key format')),
        (['SCAN'], Error('No more data')), (['RSCAN'], Error('No more data')), (['SCANX'], Error('No more data')),
        (['KSCAN', 'a'], Error('Command disabled in release code, not yet available')),
        (['DBSIZE'], 0), (['FLUSH'], Error('Flushing public namespace denied')),
        (['INDEX'], Error('Missing arguments')), (['INDEX', ''], INVALID), (['INDEX', 'x'], Error('Unknown INDEX subcommand')),
        (['INDEX', 'x' * 257], Error('Argument too long')), (['INDEX', 'dirty', 'x'], Error('Unknown INDEX DIRTY subcommand')),
        (['INDEX', 'DIRTY'], []), (['INDEX', 'dirty', 'reset'], OK), (['INDEX', 'dirty', 'x', 'y'], []),
        (['DATA', 'x'], Error('Unknown DATA subcommand')), (['DATA', 'RAW', '0'], Error('Missing arguments')), (['DATA', 'RAW', '0', '28', 'x'], Error('EOF')), (['DATA', 'RAW', '0', '28', ''], INVALID), (['DATA', 'RAW', '0', '28'], Error('EOF')),
        (['WAIT'], Error('Invalid arguments')), (['WAIT', 'NOSUCH'], Error('Unknown command to watch')), (['WAIT', 'SET', '99'], Error('Invalid timeout')),
        (['WAIT', 'SET', '1800001'], Error('Invalid timeout')), (['WAIT', 'SET', '1' * 17], Error('Invalid timeout')),
        (['AUTH'], COUNT_WRONG), (['AUTH', 'a', 'b', 'c'], COUNT_WRONG), (['AUTH', 'x'], Error('Authentication disabled')),
        (['AUTH', 'PLAIN', 'x'], Error('Only SECURE extra method supported')), (['AUTH', 'SECURE', 'x'], Error('Authentication disabled')),
        (['SELECT'], INVALID), (['SELECT', ''], Error('Namespace not found')), (['SELECT', 'default\0x'], OK), (['SELECT', 'x' * 129], Error('Namespace too long')), (['SELECT', 'nosuch'], Error('Namespace not found')),
        (['NSNEW'], COUNT_WRONG), (['NSNEW', ''], INVALID), (['NSNEW', 'x' * 129], Error('Namespace too long')),
        (['NSNEW', 'a/b'], Error('This name is not allowed')), (['NSNEW', '..'], Error('This name is not allowed')),
        (['NSNEW', '.'], Error('This name is not allowed')), (['NSNEW', 'default'], Error('This name is not allowed')),
        (['NSDEL', 'default'], Error('Cannot remove default namespace')), (['NSDEL', 'default\0x'], Error('Cannot remove default namespace')), (['NSDEL', 'nosuch'], Error("This namespace doesn't exists")),
        (['NSINFO', 'nosuch'], Error('Namespace not found')), (['NSINFO', 'x' * 129], Error('Namespace too long')),
        (['NSSET', 'default', 'maxsize'], COUNT_WRONG), (['NSSET', 'default', 'maxsize', ''], INVALID),
        (['NSSET', 'nosuch', 'maxsize', '1'], Error('Namespace not found')), (['NSSET', 'default', 'maxsize', '1'], Error('Cannot update default namespace')),
        (['NSSET', 'default', 'nosuch', '1'], Error('Cannot update default namespace')),
        (['NSSET', 'default', 'x' * 257, '1'], Error('Argument too long')), (['NSSET', 'default', 'maxsize', 'x' * 64], Error('Argument too long')),
        (['RELOAD', 'nosuch'], Error('Namespace not found')), (['RELOAD', 'default'], OK),
        (['GETRANGE', 'a', '0'], COUNT_WRONG), (['GETRANGE', 'a', 'x', '1'], INVALID), (['GETRANGE', 'a', '0', '-1'], INVALID),
        (['GETRANGE', 'none', '0', '1'], None), (['SYNC', 'x'], INVALID), (['SYNC', 'INDEX', 'x'], INVALID), (['SYNC'], OK), (['sync', 'index'], OK),
        (['BATCH'], Error('Invalid arguments')), (['BATCH', 'GET', 'a'], Error('Invalid arguments')), (['BATCH', 'SET', 'a'], Error('Invalid arguments')),
        (['BATCH', 'DEL'], Error('Invalid arguments')), (['EVICT', 'nosuch', '0', 'xxh3:' + '0' * 32], Error('Namespace not found')),
        (['EVICT', 'default', '0', 'xxh3:' + '0' * 32], Error('Segment is active')), (['EVICT', 'default', 'x', 'xxh3:' + '0' * 32], INVALID),
        (['EVICT', 'default', '0', 'md5:' + '0' * 32], INVALID), (['EVICT', 'default', '7', 'xxh3:' + '0' * 32], INVALID),
    ])


def user_mode(c):
    note('user mode')
    table(c, [
        (['SET', 'a', 'hello'], b'a'), (['SET', 'a', 'hello'], None), (['set', 'a', 'other'], b'a'), (['GET', 'a'], b'other'),
        (['SETX', 'b', ''], b'b'), (['GET', 'b'], b''), (['SET', '', 'v'], Error('Invalid argument, key needed')),
        (['SET', b'k\0\r\n', b'v\0\r\n'], b'k\0\r\n'), (['GET', b'k\0\r\n'], b'v\0\r\n'), (['SET', 'k' * 255, 'long'], b'k' * 255),
        (['GET', 'k' * 255], b'long'), (['GET', 'none'], None), (['EXISTS', 'a'], 1), (['EXISTS', 'none'], 0), (['LENGTH', 'a'], 5),
        (['LENGTH', 'b'], 0), (['LENGTH', 'none'], None), (['CHECK', 'a'], 1), (['CHECK', 'none'], None), (['KEYTIME', 'none'], None),
        (['MGET', 'a', 'none', '', 'b'], [b'other', None, None, b'']), (['SET', 't', 'v', '1234567890'], b't'), (['KEYTIME', 't'], 1234567890),
        (['SET', 't', 'w', 'soon'], b't'), (['KEYTIME', 't'], 0), (['SET', 't', 'x', '4294967290'], b't'), (['KEYTIME', 't'], 4294967290),
        (['DBSIZE'], 5), (['DEL', 't', '77'], OK), (['DEL', 't'], Error('Key not found')), (['EXISTS', 't'], 0), (['DBSIZE'], 4),
        (['GETRANGE', 'a', '0', '4'], b'other'), (['GETRANGE', 'a', '1', '2'], b'th'), (['GETRANGE', 'a', '3', '99'], b'er'),
        (['GETRANGE', 'a', '5', '9'], b''), (['GETRANGE', 'a', '2', '1'], b''), (['GETRANGE', 'b', '0', '0'], b''),
        (['BATCH', 'SET', 'x', '1', 'del', 'x', 'DEL', 'x', 'SET', 'x', '2', 'SET', 'x', '2'], [b'x', OK, Error('Key not found'), b'x', None]),
        (['GET', 'x'], b'2'), (['NSSET', 'default', 'mode', 'seq'], Error('This server instance is configured to use a single runtime mode')),
    ])
    cursor, entries = c('SCAN')
    equal([e[0] for e in entries], [b'a', b'b', b'k\0\r\n', b'k' * 255, b'x'], 'SCAN lists live keys, an updated one at its newest place')
    equal([e[1] for e in entries], [5, 0, 4, 4, 1], 'with their lengths')
    equal(c('KEYCUR', 'x'), cursor, 'its cursor is that of the last key')
    equal(c('SCAN', cursor), Error('No more data'), 'and behind it is nothing')
    back_cursor, back = c('RSCAN')
    equal([e[0] for e in back], [e[0] for e in entries[::-1]], 'RSCAN is the same backwards')
    equal([e[0] for e in c('SCAN', c('KEYCUR', 'b'))[1]], [b'k\0\r\n', b'k' * 255, b'x'], 'SCAN goes on behind a cursor')
    equal([e[0] for e in c('RSCAN', c('KEYCUR', 'b'))[1]], [b'a'], 'RSCAN before it')
    equal(c('SCAN', bytes(17)), Error('Invalid key format'), 'a forged cursor is refused')
    newest = c('HISTORY', 'a')
    equal(newest[2], b'other', 'HISTORY shows the newest version')
    older = c('HISTORY', 'a', newest[0])
    equal([older[0], older[2]], [None, b'hello'], 'and the one before it, which is the first')
    equal(c('HISTORY', 'a', bytes(8)), Error('No more history'), 'an empty cursor ends it')
    equal(c('HISTORY', 'a', 'x'), Error('Invalid arguments'), 'a short one is none')
    equal(c('HISTORY', 'b', newest[0]), Error('Invalid arguments (invalid key)'), 'nor is that of another key')
    equal(c('HISTORY', 'a', struct.pack('<II', 9, 29)), Error('Invalid arguments (index query)'), 'nor one that leads nowhere')
    raw = c('DATA', 'RAW', '0', '28')
    equal([raw[0], raw[1], raw[3], raw[5]], [b'a', 0, 0, b'hello'], 'DATA RAW shows the first record')
    equal(raw[2][:2] + bytes([len(raw[2])]), b'0x\x0a', 'with its checksum in hexadecimal')
    equal(c('DATA', 'RAW', '9', '28'), Error('Invalid Request'), 'of a file that is not there: nothing')


def sequential_mode(c):
    note('sequential mode')
    ident = lambda n: struct.pack('<Q', n)
    table(c, [
        (['SET', '', 'val0'], ident(0)), (['SET', '', 'val1'], ident(1)), (['SET', '', 'val2'], ident(2)),
        (['SET', ident(0), 'newval0'], ident(0)), (['SET', ident(0), 'newval0'], None), (['SET', '', 'val4'], ident(4)), (['GET', ident(3)], None),
        (['GET', ident(0)], b'newval0'), (['GET', 'abc'], None), (['SET', 'abc', 'x'], Error('Invalid key, only update authorized')),
        (['SET', ident(99), 'x'], Error('Invalid key, only update authorized')), (['DEL', ident(2)], OK), (['DEL', ident(2)], Error('Key not found')),
        (['SET', ident(2), 'again'], Error('Invalid key, only update authorized')), (['DBSIZE'], 3), (['NSJUMP'], OK), (['SET', '', 'val5'], ident(5)),
        (['EXISTS', ident(5)], 1), (['LENGTH', ident(4)], 4), (['CHECK', ident(4)], 1), (['MGET', ident(4), ident(2), 'x'], [b'val4', None, None]),
        (['BATCH', 'SET', '', 'six', 'SET', '', 'seven', 'DEL', ident(6)], [ident(6), ident(7), OK]), (['INDEX', 'DIRTY'], [0, 1]),
        (['INDEX', 'DIRTY', 'RESET'], OK), (['INDEX', 'DIRTY'], []),
    ])
    equal([e[0] for e in c('SCAN')[1]], [ident(n) for n in (0, 1, 4, 5, 7)], 'SCAN keeps the order of ids')
    equal([e[0] for e in c('RSCAN')[1]], [ident(n) for n in (7, 5, 4, 1, 0)], 'RSCAN reverses it')
    newest = c('HISTORY', ident(0))
    equal([newest[2], c('HISTORY', ident(0), newest[0])[2]], [b'newval0', b'val0'], 'HISTORY finds the copy of the old version')
    info = c('NSINFO', 'default').decode()
    ok('\nnext_internal_id: 0x800000000000000\n' in info and '\nmode: sequential\n' in info, 'NSINFO shows the next id', info)


def namespaces(server):
    note('namespaces')
    c, other = server.client(), server.client()
    table(c, [
        (['NSNEW', 'one'], OK), (['NSNEW', 'one'], Error('This namespace is not available')), (['NSNEW', b'cut\0off'], OK),
        (['NSLIST'], [b'default', b'one', b'cut']), (['SELECT', 'one'], OK), (['SET', 'k', 'v'], b'k'), (['SELECT', 'default'], OK), (['GET', 'k'], None),
        (['NSSET', 'one', 'nosuch', '1'], Error('Invalid property')), (['NSSET', 'one', 'maxsize', '10'], OK), (['SELECT', 'one', 'ignored', 'too', 'x', 'y'], OK),
        (['SET', 'm', '0123456789'], Error('No space left on this namespace')), (['SET', 'm', '012345678'], b'm'), (['SET', 'm', 'x'], b'm'),
        (['NSSET', 'one', 'maxsize', '1k'], OK), (['SET', 'n', 'x'], Error('No space left on this namespace')), (['NSSET', 'one', 'maxsize', '-1'], OK),
        (['SET', 'n', 'x'], b'n'), (['SET', 'n', 'longer'], b'n'), (['SET', 'n', 'x'], b'n'), (['NSSET', 'one', 'maxsize', '0'], OK),
        (['NSSET', 'one', 'worm', '1'], OK), (['SET', 'n', 'x'], Error('Namespace is protected by worm mode')), (['SET', 'new', 'x'], b'new'),
        (['DEL', 'n'], Error('Cannot delete a key when namespace is in worm mode')), (['NSSET', 'one', 'worm', '0'], OK), (['DEL', 'n'], OK),
        (['NSSET', 'one', 'lock', '1'], OK), (['SET', 'n', 'x'], LOCKED), (['DEL', 'k'], LOCKED), (['GET', 'k'], b'v'), (['BATCH', 'SET', 'n', 'x'], [LOCKED]),
        (['NSSET', 'one', 'freeze', '10'], OK), (['SET', 'n', 'x'], FROZEN), (['GET', 'k'], FROZEN), (['MGET', 'k'], FROZEN), (['EXISTS', 'k'], FROZEN),
        (['CHECK', 'k'], FROZEN), (['LENGTH', 'k'], FROZEN), (['KEYTIME', 'k'], FROZEN), (['SCAN'], FROZEN), (['RSCAN'], FROZEN), (['HISTORY', 'k'], FROZEN),
        (['KEYCUR', 'k'], FROZEN), (['GETRANGE', 'k', '0', '1'], FROZEN), (['DBSIZE'], 3), (['SYNC'], OK), (['NSJUMP'], OK), (['NSSET', 'one', 'lock', '0'], OK), (['GET', 'k'], b'v'),
        (['NSSET', 'one', 'password', 'secret'], OK), (['SET', 'k', 'still in'], b'k'),
    ])
    for given, limit in ('18446744073709551617', 2**63 - 1), ('-99999999999999999999', 2**63), (' +12x', 12), ('0', 0):
        equal(c('NSSET', 'one', 'maxsize', given), OK, 'a limit of ' + given)
        ok('\ndata_limits_bytes: %d\n' % limit in c('NSINFO', 'one').decode(), 'is %d' % limit)
    table(other, [
        (['SELECT', 'one'], OK), (['SET', 'k', 'v'], READ_ONLY), (['DEL', 'k'], READ_ONLY), (['FLUSH'], Error('Flushing public namespace denied')),
        (['GET', 'k'], b'still in'), (['SELECT', 'one', 'wrong'], Error('Access denied')), (['SELECT', 'one', 'x' * 256], Error('Password too long')),
        (['SELECT', 'one', 'PLAIN', 'x'], Error('Only SECURE extra method supported')),
        (['SELECT', 'one', 'SECURE', 'x'], Error('No CHALLENGE requested, secure authentication not available')),
        (['SELECT', 'one', 'SECURE', 'x', 'y'], Error('Too many arguments')), (['SELECT', 'one', 'secret'], OK), (['SET', 'k', 'v'], b'k'),
    ])
    challenge = other('AUTH', 'SECURE', 'CHALLENGE')
    ok(isinstance(challenge, Status) and len(challenge) == 16, 'a challenge has 16 digits', challenge)
    answer = hashlib.sha1(('%s:secret' % challenge).encode()).hexdigest()
    table(other, [
        (['SELECT', 'default'], OK), (['SELECT', 'one', 'SECURE', 'x'], Error('Invalid hash length')), (['SELECT', 'one', 'SECURE', '0' * 40], Error('Access denied')),
        (['SELECT', 'one', 'secure', answer], OK), (['SELECT', 'one', 'SECURE', answer], OK), (['SET', 'k', 'w'], b'k'),
    ])
    table(c, [(['NSSET', 'one', 'public', '0'], OK), (['SELECT', 'one'], Error('Namespace protected and private')), (['GET', 'k'], b'w'),
              (['NSSET', 'one', 'password', '*'], OK), (['SELECT', 'one'], OK),
              (['NSDEL', 'one'], Error("Cannot remove namespace you're currently using.")), (['SELECT', 'default'], OK), (['NSDEL', 'one'], OK)])
    equal(other('NOSUCH'), Error('Your active namespace is not available anymore (probably removed).'), 'who was in a removed namespace is told')
    ok(other.closed(), 'and the connection is closed')
    ok(not os.path.exists(server.file('data', 'one')) and not os.path.exists(server.file('index', 'one')), 'both directories are gone')
    table(c, [(['NSNEW', 'again'], OK), (['NSLIST'], [b'default', b'again', b'cut']), (['NSNEW', 'fl'], OK), (['NSSET', 'fl', 'password', 'p'], OK),
              (['NSSET', 'fl', 'public', '0'], OK), (['SELECT', 'fl', 'p'], OK), (['SET', 'k', 'v'], b'k'), (['FLUSH'], OK), (['GET', 'k'], None), (['DBSIZE'], 0),
              (['SET', 'k', 'v2'], b'k'), (['NSSET', 'fl', 'worm', '1'], OK), (['FLUSH'], Error('Namespace is protected by worm mode')),
              (['NSSET', 'fl', 'worm', '0'], OK), (['NSSET', 'fl', 'lock', '1'], OK), (['FLUSH'], LOCKED), (['NSSET', 'fl', 'lock', '0'], OK)])
    info = c('NSINFO', 'fl').decode()
    fields = [line.split(':')[0] for line in info.splitlines()]
    want = ('# namespace|name|entries|public|worm|locked|password|data_size_bytes|data_size_mb|data_limits_bytes|index_size_bytes|index_size_kb|'
            'next_internal_id|mode|stats_index_io_errors|stats_index_io_error_last|stats_index_faults|stats_data_io_errors|stats_data_io_error_last|'
            'stats_data_faults|index_disk_freespace_bytes|index_disk_freespace_mb|data_disk_freespace_bytes|data_disk_freespace_mb|data_path|data_active|'
            'index_path|index_active|data_current_id|data_current_offset').split('|')
    equal(fields[:len(want)], want, 'NSINFO has its fields in their order')
    text = c('INFO').decode()
    ok('\nextensions: sync range batch evict cut compact spool stored\n' in text and '\nserver_name: 0-db (zdb)\n' in text, 'INFO announces the extensions', text)
    announced = {{'range': 'GETRANGE'}.get(word, word.upper()) for word in text.split('\nextensions: ')[1].splitlines()[0].split()}
    with open(os.path.join(TOP, 'docs', 'zdb-differences.md')) as f:
        row = [line for line in f if line.endswith('| `-Command not supported` | extensions |\n')]
    equal(sorted(row[0].split('|')[1].replace(',', '').split()), sorted(announced), 'which are those on the list of differences')
    with open(os.path.join(TOP, 'docs', 'formats.md')) as f:
        table_of = f.read().split('\nExtensions, announced')[1].split('\n\n')[1]
    equal(sorted(re.findall('^\\| `([A-Z]+)', table_of, re.M)), sorted(announced), 'and those that are described')
    seconds, micros = c('TIME')
    ok(abs(int(seconds) - time.time()) < 600 and 0 <= int(micros) < 1000000, 'TIME is the time')


def found(server):
    note('NSNEW of what is there')
    c, index, data = server.client(), server.file('index'), server.file('data')
    taken = Error('This name is not allowed')
    for root, name in (index, 'notes'), (data, 'notes.txt'):
        with open(os.path.join(root, name), 'w') as f:
            f.write('not ours')
    os.makedirs(server.file('elsewhere'))
    os.symlink(server.file('elsewhere'), os.path.join(index, 'link'))
    before = sorted(os.listdir(index)), sorted(os.listdir(data))
    table(c, [(['NSNEW', name], taken) for name in ('.lockfile', 'notes', 'notes.txt', 'link')])
    equal((sorted(os.listdir(index)), sorted(os.listdir(data))), before, 'a name that is no directory is refused, and nothing is touched')
    again = subprocess.run(server.command(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT)
    ok(again.returncode == 1 and b'using' in again.stdout, 'the lock still keeps others out', again.stdout)
    os.makedirs(os.path.join(data, 'pre'))
    with open(os.path.join(data, 'pre', 'd1'), 'wb') as f:
        f.write(b'DAT0' + struct.pack('<IQQI', 3, 0, 0, 1) + b'precious' * 10)
    equal(c('NSNEW', 'pre'), Error('Could not create namespace'), 'of a segment whose index is not here none is made')
    ok(os.path.exists(os.path.join(data, 'pre', 'd1')) and not os.path.exists(os.path.join(index, 'pre')), 'the segment stays, and nothing is added')
    shutil.rmtree(os.path.join(data, 'pre'))
    table(c, [(['NSNEW', 'pre'], OK), (['NSDEL', 'pre'], OK)])


def cut(c):
    rows = c('CUT')
    names = c('NSLIST')
    equal([row[0] for row in rows], names, 'CUT has a row for each namespace')
    ok(all(len(row) == 6 and row[1] in (0, 1) and row[3] >= 28 and row[5][:4] == b'\1\0\0\0' for row in rows), 'with mode, place and descriptor', rows)
    fl = rows[names.index(b'fl')]
    ok(fl[5].endswith(b'flp') and fl[5][14] & 3 == 0, 'the descriptor is what the file holds', fl[5])


def waits(server):
    note('WAIT')
    watcher, c = server.client(), server.client()
    watcher.send('WAIT', 'SET', '60000')
    equal(watcher('PING'), Status('PONG'), 'WAIT does not block its own connection')
    c('GET', 'nothing')
    c('SETX', 'nothing', 'x')
    equal(watcher('PING'), Status('PONG'), 'other commands do not wake it')
    c('SET', 'w', 'x')
    equal(watcher.reply(), Status('SET'), 'SET of another client does')
    watcher.send('WAIT', '*', '60000')
    equal(watcher('PING'), Status('PONG'), 'not its own')
    c('TIME')
    equal(watcher.reply(), Status('TIME'), '* is any command')
    equal(watcher('WAIT', 'DEL', '100'), Error('Timeout'), 'and it has an end')


def admin_and_protect():
    note('admin, protect, read-only clients')
    s = Server('admin', '--admin', 'secret', '--protect', '--mode', 'user').start()
    with open('/proc/%d/cmdline' % s.process.pid, 'rb') as f:
        ok(b'secret' not in f.read(), 'the password does not stay among the arguments')
    c = s.client()
    table(c, [
        (['SET', 'k', 'v'], READ_ONLY), (['GET', 'k'], None), (['NSNEW', 'x'], DENIED), (['NSSET'], DENIED), (['NSDEL', 'x'], DENIED), (['NSJUMP'], DENIED),
        (['RELOAD', 'default'], DENIED), (['HOOKS'], DENIED), (['INDEX'], DENIED), (['DATA', 'RAW'], DENIED), (['MIRROR'], DENIED), (['MASTER'], DENIED), (['CUT'], DENIED),
        (['EVICT', 'default', '0', 'xxh3:' + '0' * 32], DENIED), (['SELECT', 'default', 'secret'], OK), (['SET', 'k', 'v'], b'k'), (['SET', 'k', 'v', '1'], DENIED), (['DEL', 'k', '1'], DENIED), (['SET', 'k'], COUNT_WRONG),
        (['AUTH', ''], INVALID), (['AUTH', 'x' * 129], Error('Password too long')), (['AUTH', 'wrong'], Error('Access denied')),
        (['AUTH', 'SECURE', '0' * 40], Error('No CHALLENGE requested, secure authentication not available')),
    ])
    challenge = c('AUTH', 'secure', 'challenge')
    answer = hashlib.sha1(('%s:secret' % challenge).encode()).hexdigest()
    table(c, [(['AUTH', 'SECURE', 'x'], Error('Invalid hash length')), (['AUTH', 'SECURE', '0' * 40], Error('Access denied')),
              (['AUTH', 'SECURE', answer], Error('No CHALLENGE requested, secure authentication not available'))])
    challenge = c('AUTH', 'SECURE', 'CHALLENGE')
    table(c, [(['AUTH', 'SECURE', hashlib.sha1(('%s:secret' % challenge).encode()).hexdigest()], OK), (['SET', 'k', 'w', '1'], b'k'), (['NSNEW', 'x'], OK),
              (['NSSET', 'default', 'lock', '1'], OK), (['NSSET', 'default', 'lock', '0'], OK)])
    ok('data_path' in c('NSINFO', 'x').decode() and 'data_path' not in s.client()('NSINFO', 'x').decode(), 'NSINFO shows paths to admins only')
    plain = s.client()
    equal(plain('AUTH', 'secret'), OK, 'AUTH in clear')
    equal(s.stop(), 143, 'SIGTERM ends it with 143')
    with open(s.file('index', 'default', 'zdb-namespace'), 'rb') as f:
        ok(b'secret' not in f.read(), 'the password of --protect never reaches the disk')


def mixed():
    note('mixed instance')
    s = Server('mixed').start()
    c = s.client()
    table(c, [(['NSNEW', 'q'], OK), (['NSSET', 'q', 'mode', 'x'], Error('Invalid property value (expected: user, seq)')), (['NSSET', 'q', 'mode', 'seq'], OK),
              (['SELECT', 'q'], OK), (['SET', '', 'v'], bytes(8)), (['NSSET', 'q', 'mode', 'user'], Error('Cannot change mode of used namespace')),
              (['NSSET', 'q', 'mode', 'x'], Error('Cannot change mode of used namespace')),
              (['NSSET', 'q', 'lock', '1'], OK), (['NSSET', 'q', 'worm', '1'], OK)])
    equal(s.stop(signal.SIGINT), 130, 'SIGINT ends it with 130')
    s.start()
    c = s.client()
    info = c('NSINFO', 'q').decode()
    ok('\nlocked: no\n' in info and '\nworm: yes\n' in info and '\nmode: sequential\n' in info, 'worm and mode outlive a restart, a lock does not', info)
    again = subprocess.run(s.command(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT)
    ok(again.returncode == 1 and b'using' in again.stdout, 'a second server is refused', again.stdout)
    equal(c('STOP'), Status('Stopping'), 'STOP from our own user over the unix socket')
    equal(s.process.wait(LIMIT), 0, 'ends it with 0')
    tcp = Server('tcp', unix=False, tcp=True).start()
    equal(tcp.client()('STOP'), Error('Unauthorized'), 'STOP over TCP is refused')


def replication():
    note('MIRROR, MASTER')
    s = Server('mirror', '--mode', 'user').start()
    mirror, c, master = s.client(), s.client(), s.client()
    equal(mirror('MIRROR'), Status('Starting mirroring'), 'MIRROR')
    c('SET', 'k', b'v\0')
    when, ns, owner, *words = mirror.reply()
    equal([ns, words], [b'default', [b'SET', b'k', b'v\0']], 'shows what others ask for')
    c('SELECT', 'default', 'secret')
    c('AUTH', 'secret')
    equal(master('MASTER'), Status('Hello, master'), 'MASTER')
    equal(mirror.reply()[3:], [b'MASTER'], 'but no passwords')
    equal(master('SET', 'm', 'v', '4711'), b'm', 'its last word is an owner')
    equal(mirror.reply()[2:], [4711, b'SET', b'm', b'v'], 'which the mirror shows')
    c('NSNEW', 'pw')
    c('NSSET', 'pw', 'password', 'clear')
    ok('password_raw: clear' in master('NSINFO', 'pw', '1').decode() and 'password_raw' not in c('NSINFO', 'pw').decode(), 'only a master sees passwords')


def main():
    for mode in 'user', 'seq':
        s = Server(mode, '--mode', mode).start()
        note('every command, mode ' + mode)
        every_command(s.client())
        (user_mode if mode == 'user' else sequential_mode)(s.client())
        if mode == 'user':
            namespaces(s)
            found(s)
            cut(s.client())
            waits(s)
        equal(s.stop(), 143, 'a clean stop')
    admin_and_protect()
    mixed()
    replication()


run(main)
