"""Shared by the tests with the original server: a model of what a namespace must answer, everything that can be asked of one, its files."""
import os, re, shutil, struct, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'story'))
from zdb_lib import *

OK = Status('OK')
NOT_FOUND = Error('Key not found')
ONLY_UPDATE = Error('Invalid key, only update authorized')


def ident(n):
    return struct.pack('<Q', n)


class Store:
    """Live keys in the order of their index records, each with its versions, oldest first."""

    def __init__(self, sequential):
        self.sequential, self.chains, self.next, self.used = sequential, {}, 0, set()

    def set(self, key, value, ts):
        self.used.add(key)
        if self.sequential and key == b'':
            key = ident(self.next)
            self.next += 1
            self.chains[key] = [(value, ts)]
            return key
        if key not in self.chains:
            if self.sequential:
                return ONLY_UPDATE
            if key == b'':
                return Error('Invalid argument, key needed')
            self.chains[key] = [(value, ts)]
            return key
        if self.chains[key][-1][0] == value:
            return None
        self.chains[key].append((value, ts))
        if self.sequential:
            self.next += 1
        else:
            self.chains[key] = self.chains.pop(key)     # its record is the newest now
        return key

    def delete(self, key):
        self.used.add(key)
        return OK if self.chains.pop(key, None) else NOT_FOUND

    def apply(self, op):
        if op[0] == 'SET':
            return self.set(op[1], op[2], int(op[3]))
        if op[0] == 'DEL':
            return self.delete(op[1])
        return OK               # NSJUMP

    def keys(self):
        absent = {ident(n) for n in range(self.next + 2)} if self.sequential else {b'absent', b'k' * 254}
        return sorted((self.used | set(self.chains) | absent) - {b''})

    def answers(self):
        """What look() finds."""
        out = {'DBSIZE': len(self.chains)}
        for key in self.keys():
            chain = self.chains.get(key)
            value, ts = chain[-1] if chain else (None, None)
            out['GET', key], out['EXISTS', key] = value, int(chain is not None)
            out['LENGTH', key], out['KEYTIME', key] = len(value) if chain else None, ts
            out['CHECK', key] = 1 if chain else None
            out['HISTORY', key] = [(b'%d' % t, v) for v, t in chain[::-1]] if chain else NOT_FOUND
        listed = [[k, len(c[-1][0]), c[-1][1]] for k, c in self.chains.items()]
        out['SCAN'], out['RSCAN'] = listed, listed[::-1]
        out['entries'], out['data_size_bytes'] = len(listed), sum(e[1] for e in listed)
        out['index_size_bytes'] = sum(64 + len(e[0]) for e in listed)
        out['mode'] = 'sequential' if self.sequential else 'userkey'
        if self.sequential:
            out['next_internal_id'] = self.next
        return out


def history(c, key):
    out, cursor = [], []
    while True:
        got = c('HISTORY', key, *cursor)
        if isinstance(got, Error):
            return got if not out else out + [got]
        out.append((got[1], got[2]))
        if got[0] is None or len(out) > 1000:
            return out
        cursor = [got[0]]


def listing(c, command):
    """All pages: the entries, and the error that ended them when it is not the usual one."""
    out, cursor = [], []
    while True:
        got = c(command, *cursor)
        if isinstance(got, Error):
            return out if got == 'No more data' else out + [got]
        out += got[1]
        cursor = [got[0]]
        if len(out) > 100000:
            return out + ['without end']


def info(c, name):
    lines = c('NSINFO', name).decode('latin1').splitlines()
    return dict(line.split(': ', 1) for line in lines if ': ' in line)


def look(c, name, keys, sequential):
    """Everything the namespace answers, by question."""
    out = {'DBSIZE': c('DBSIZE')}
    for key in keys:
        for command in 'GET', 'EXISTS', 'LENGTH', 'KEYTIME', 'CHECK':
            out[command, key] = c(command, key)
        out['HISTORY', key] = history(c, key)
    out['SCAN'], out['RSCAN'] = listing(c, 'SCAN'), listing(c, 'RSCAN')
    fields = info(c, name)
    for field in 'entries', 'data_size_bytes', 'index_size_bytes':
        out[field] = int(fields[field])
    out['mode'] = fields['mode']
    if sequential:
        out['next_internal_id'] = struct.unpack('<Q', int(fields['next_internal_id'], 16).to_bytes(8, 'big'))[0]
    return out


def differences(got, want):
    return [(what, got.get(what), want.get(what)) for what in sorted(set(got) | set(want), key=repr) if not same(got.get(what), want.get(what))]


def copy(source, target):
    """The directories of one server (stopped) for another."""
    for root in 'data', 'index':
        shutil.rmtree(target.file(root), ignore_errors=True)
        shutil.copytree(source.file(root), target.file(root))


# ---- files

def files(server, name):
    """Bytes of i<N> and d<N> of a namespace: ('i', N) -> bytes."""
    out = {}
    for root, letter in ('index', 'i'), ('data', 'd'):
        for entry in os.listdir(server.file(root, name)):
            if re.fullmatch(letter + '[0-9]+', entry):
                with open(server.file(root, name, entry), 'rb') as f:
                    out[letter, int(entry[1:])] = f.read()
    return out


def index_records(data):
    """(offset, key length, fields) of each record; fields: offset, length, previous, flags, data file, timestamp, crc, parent file, parent offset."""
    at = 29
    while at < len(data):
        klen = data[at]
        yield at, klen, struct.unpack_from('<IIIBIIIII', data, at + 1)
        at += 34 + klen


def with_true_numbers(data, number, sequential):
    """An index file with the number of its data file in first insertions of user mode, where the original writes 0."""
    out = bytearray(data)
    if not sequential:
        for at, _, fields in index_records(data):
            if fields[4] == 0 and fields[7:] == (0, 0):
                struct.pack_into('<I', out, at + 14, number)
    return bytes(out)
