#!/usr/bin/python3
# kill -9 while a namespace goes on in a pair that has no names of its own yet: values that fill several segments are pipelined, the
# server is killed, mostly as soon as such a pair is seen. After the start the store holds what some prefix of the writes made, and
# at least all that was answered, and every file has its own name. SEED repeats a run, ROUNDS lengthens it.
import glob, os, struct, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from zdb_lib import *

KEYS = 8
OK = Status('OK')


def value(rng, number):
    return struct.pack('<I', number) * rng.randrange(1, 90000)


def ahead(s):
    return glob.glob(s.file('data', 'default', '*.next-*')) + glob.glob(s.file('index', 'default', '*.next-*'))


def found(s, names):
    """Of each key the number of the write whose value it has."""
    c, numbers = s.client(), {}
    for name in names:
        got = c('GET', name)
        if got is None:
            numbers[name] = None
        elif isinstance(got, Error) or got[:4] * (len(got) // 4) != got:
            raise AssertionError('%r: %.60r' % (name, got))
        else:
            numbers[name] = struct.unpack('<I', got[:4])[0], len(got)
    c.close()
    return numbers


def fill(s, rng, names, state, number):
    """Pipelines writes and kills, or stops, the server: the states that may be found."""
    c, states, sent = s.client(), [dict(state)], []
    for _ in range(rng.randrange(10, 60)):
        name, body = rng.choice(names), value(rng, number + len(sent))
        sent.append(Client.pack('SET', name, body))
        states.append({**states[-1], name: (number + len(sent) - 1, len(body))})
    wanted, answered = rng.randrange(len(sent)), 0
    waits = rng.random() < 0.7
    for at in range(0, len(sent), 4):       # no more than the socket takes
        c.sock.sendall(b''.join(sent[at:at + 4]))
        for _ in sent[at:at + 4]:
            reply = c.reply()
            if isinstance(reply, Error):
                raise AssertionError(reply)
            answered += 1
        if (waits and ahead(s)) or (not waits and answered >= wanted):
            break
    if at + 4 < len(sent):                  # some that nobody waits for
        c.sock.sendall(b''.join(sent[at + 4:at + 6]))
    return c, states[answered:answered + 3], len(sent)


def play(rng, mode, rounds):
    s = Server('ahead', '--mode', mode, '--datasize', '2M', *rng.choice([[], ['--fsync', 'no']]))
    s.start()
    c, number, killed, seen = s.client(), KEYS, 0, 0
    names = [b'key%d' % i if mode == 'user' else struct.pack('<Q', i) for i in range(KEYS)]
    state = {}
    for i, name in enumerate(names):
        body = value(rng, i)
        c('SET', name if mode == 'user' else b'', body)
        state[name] = (i, len(body))
    for n in range(rounds):
        c, states, used = fill(s, rng, names, state, number)
        number += used
        if rng.random() < 0.8:
            s.kill()
            killed += 1
            seen += len(ahead(s)) > 0
        elif s.stop() != 143 or ahead(s):
            return ok(False, '%s, round %d: a clean stop leaves every file its name' % (mode, n), ahead(s))
        s.start()
        state = found(s, names)
        if state not in states or ahead(s):
            return ok(False, '%s, round %d: what was answered is there' % (mode, n), 'found %r\nof    %r\n%r' % (state, states, ahead(s)))
    s.stop()
    ok(True, '%s mode: %d rounds, %d kills, %d of them beside a pair ahead' % (mode, rounds, killed, seen))


def main():
    rng = seed()
    rounds = int(os.environ.get('ROUNDS', 12))
    for mode in 'user', 'seq':
        play(rng, mode, rounds)


run(main)
