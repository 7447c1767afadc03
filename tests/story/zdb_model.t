#!/usr/bin/python3
# Random commands against a simple model, over clean stops, kill -9 in the middle of pipelines, rotations, and segments that are evicted with a
# proof and brought back by the hook. After a kill the store must hold exactly what some prefix of the writes made, and at
# least all that was answered; a BATCH is several writes in order, and a kill may fall between two of them. SEED
# repeats a run, ROUNDS lengthens it.
import hashlib, os, re, shutil, struct, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from zdb_lib import *

OK = Status('OK')
HOOK = '''#!/bin/sh
case $1 in
missing-data) exec cp "${0%/*}/kept/$(basename "$(dirname "$3")").$(basename "$3")" "$3" ;;
esac
'''


class Model:
    """One namespace: what the store must answer."""

    def __init__(self, sequential):
        self.sequential, self.keys, self.next = sequential, {}, 0

    def copy(self):
        other = Model(self.sequential)
        other.keys, other.next = dict(self.keys), self.next
        return other

    def set(self, key, value):
        if not self.sequential:
            if self.keys.get(key) == value:
                return None
            self.keys[key] = value
            return key
        if key == b'':
            ident = struct.pack('<Q', self.next)
            self.next += 1
            self.keys[ident] = value
            return ident
        if key not in self.keys:
            return Error('Invalid key, only update authorized')
        if self.keys[key] == value:
            return None
        self.keys[key] = value
        self.next += 1          # the copy of the old record takes an id
        return key

    def delete(self, key):
        return OK if self.keys.pop(key, None) is not None else Error('Key not found')

    def apply(self, op, seen=None):
        """The reply to op; seen, a list, gets a copy of the model after every write of it."""
        if op[0] != 'BATCH':
            reply = self.single(op)
            if seen is not None:
                seen.append(self.copy())
            return reply
        out, i = [], 1
        while i < len(op):
            words = 3 if op[i] == 'SET' else 2
            out.append(self.apply(op[i:i + words], seen))
            i += words
        return out

    def single(self, op):
        name, args = op[0], op[1:]
        if name == 'SET':
            return self.set(*args)
        if name == 'DEL':
            return self.delete(*args)
        if name == 'GET':
            return self.keys.get(args[0])
        if name == 'LENGTH':
            return len(self.keys[args[0]]) if args[0] in self.keys else None
        if name == 'EXISTS':
            return int(args[0] in self.keys)
        if name == 'DBSIZE':
            return len(self.keys)
        return OK               # NSJUMP, SYNC


def value(rng, unlike=None):
    """Any bytes, but not `unlike` (an empty value is never read to be compared)."""
    size = rng.choice([0, 1, 17, 100, 1000, 4096, 20000, rng.randrange(60000)])
    new = bytes([rng.randrange(256)]) * size if rng.random() < 0.3 else rng.getrandbits(8 * size).to_bytes(size, 'little') if size else b''
    return new + b'.' if new and new == unlike else new


def key(rng, model):
    if not model.sequential:
        return b'key%d' % rng.randrange(60)
    return struct.pack('<Q', rng.randrange(model.next + 2))


def write(rng, model, evicted, insert):
    """A SET. Where segments were evicted, never of the value that is there: whether that counts as a change depends on its segment."""
    name = b'' if insert else key(rng, model)
    return ['SET', name, value(rng, model.keys.get(name) if evicted else None)]


def operation(rng, model, evicted=False):
    kind = rng.random()
    if kind < 0.45:
        return tuple(write(rng, model, evicted, model.sequential and rng.random() < 0.6))
    if kind < 0.55:
        return ('DEL', key(rng, model))
    if kind < 0.60:
        members = []
        for _ in range(rng.randrange(1, 6)):
            members += write(rng, model, evicted, model.sequential) if rng.random() < 0.7 else ['DEL', key(rng, model)]
        return ('BATCH', *members)
    if kind < 0.80:
        return ('GET', key(rng, model))
    if kind < 0.90:
        return (rng.choice(['LENGTH', 'EXISTS']), key(rng, model))
    return (rng.choice(['DBSIZE', 'SYNC', 'SYNC', 'NSJUMP']),)


def contents(c, sequential):
    """Everything the store holds, through SCAN and GET, and the next id."""
    keys, cursor = [], []
    while True:
        page = c('SCAN', *cursor)
        if isinstance(page, Error):
            assert page == 'No more data', page
            break
        keys += [e[0] for e in page[1]]
        cursor = [page[0]]
    assert len(set(keys)) == len(keys), 'a key is listed twice'
    found = {}
    for at in range(0, len(keys), 500):
        for k, v in zip(keys[at:at + 500], c('MGET', *keys[at:at + 500])):
            found[k] = v
    text = c('NSINFO', 'm').decode()
    number = int(re.search('next_internal_id: 0x([0-9a-f]+)', text).group(1), 16)
    return found, struct.unpack('<Q', number.to_bytes(8, 'big'))[0] if sequential else 0


def connect(s):
    c = s.client()
    assert c('SELECT', 'm') == OK
    return c


def evict_some(rng, s):
    """Asks for the eviction of some closed segments, with their checksum as proof."""
    c, count = connect(s), 0
    directory = s.file('data', 'm')
    active = max(int(n[1:]) for n in os.listdir(directory) if re.fullmatch('d[0-9]+', n))
    for n in range(active):
        path = os.path.join(directory, 'd%d' % n)
        if not os.path.exists(path) or rng.random() < 0.5:
            continue
        with open(path, 'rb') as f:
            data = f.read()
        shutil.copy(path, s.file('kept', 'm.d%d' % n))
        proof = hashlib.blake2b(data[:16] + bytes(8) + data[24:], digest_size=16).hexdigest()
        wrong = c('EVICT', 'm', n, 'b2:' + '0' * 32)
        right = c('EVICT', 'm', n, 'b2:' + proof)
        if right == Error('Segment is active'):
            continue            # closed, but not yet behind the marker
        assert wrong in (Error('Proof does not match'), Error('Segment is active')), wrong
        assert right == OK and not os.path.exists(path), (right, n, active)
        count += 1
    return count


def play(rng, mode, rounds):
    s = Server('model', '--datasize', '524288', '--hook', '{dir}/hook', *rng.choice([[], ['--fsync', 'always'], ['--fsync', 'no']]))
    os.mkdir(s.file('kept'))
    with open(s.file('hook'), 'w') as f:
        f.write(HOOK)
    os.chmod(s.file('hook'), 0o755)
    s.start()
    c = s.client()
    c('NSNEW', 'm')
    c('NSSET', 'm', 'mode', mode)
    model, evicted, commands, unsure = Model(mode == 'seq'), 0, 0, 0
    for number in range(rounds):
        c = connect(s)
        # one by one: every reply must be the model's
        for _ in range(rng.randrange(60)):
            op = operation(rng, model)
            want, got = model.apply(op), c(*op)
            if not same(got, want):
                return ok(False, 'round %d: %s' % (number, str(op)[:80]), 'got  %.200r\nwant %.200r' % (got, want))
            commands += 1
        gone = evict_some(rng, s) if rng.random() < 0.5 else 0
        evicted += gone
        # a pipeline, cut off somewhere
        ahead, states, ops, ends = model.copy(), [model], [], [0]
        for _ in range(rng.randrange(1, 80)):
            op = operation(rng, ahead, gone > 0)
            ops.append((op, ahead.apply(op, states)))
            ends.append(len(states) - 1)
        answered = 0
        c.sock.sendall(b''.join(Client.pack(*op) for op, _ in ops))
        for op, want in ops[:rng.randrange(len(ops) + 1)]:
            got = c.reply()
            if not same(got, want):
                return ok(False, 'round %d, pipeline: %s' % (number, str(op)[:80]), 'got  %.200r\nwant %.200r' % (got, want))
            answered += 1
        commands += answered
        if rng.random() < 0.75:
            s.kill()
        else:
            code = s.stop()
            if code != 143:
                return ok(False, 'round %d: clean stop' % number, code)
        s.start()
        found, next_id = contents(connect(s), model.sequential)
        candidates = states[ends[answered]:]
        match = [m for m in candidates if m.keys == found and (not m.sequential or m.next == next_id)]
        if not match:
            nearest = candidates[0].keys
            return ok(False, 'round %d: the store holds a prefix of at least what was answered' % number,
                      'answered %d of %d, next id %d (model %d..%d)\nabsent %s\nsurplus %s\nother values %s' % (
                          answered, len(ops), next_id, candidates[0].next, candidates[-1].next, [k for k in nearest if k not in found][:5],
                          [k for k in found if k not in nearest][:5], [k for k in nearest if k in found and found[k] != nearest[k]][:5]))
        unsure += len(ops) - answered
        model = match[0]
    s.stop()
    ok(True, '%s mode: %d rounds, %d commands answered, %d cut off, %d segments evicted' % (mode, rounds, commands, unsure, evicted))
    return True


def main():
    rng = seed()
    rounds = int(os.environ.get('ROUNDS', 25))
    for mode in 'user', 'seq', 'user', 'seq':
        play(rng, mode, rounds)


run(main)
