#!/usr/bin/env python3
"""An independent reader of the native format, written from docs/formats.md alone, with nothing but the standard library.

    native_reader.py DIR

DIR holds volume.key, the values of stores in files named by the key in hex (metaN/, dataN/), and expect/<kind>.<number>.<namespace>
with what each object must give. Every object is read from every store combination that the format promises (a sample of them), opened,
unpacked and compared. Prints one line per object; exit code 1 and a sentence at the first difference.

zstd frames are unpacked by the zstd program, where there is one; without it such stripes are authenticated only, and the line says so.
"""
import hashlib
import itertools
import os
import shutil
import struct
import subprocess
import sys

# ---- checksums ----------------------------------------------------------------------------------------------------------------


def crc_table(poly):
    table = []
    for i in range(256):
        for _ in range(8):
            i = (i >> 1) ^ (poly if i & 1 else 0)
        table.append(i)
    return table


CRC32C = crc_table(0x82F63B78)
CRC32 = crc_table(0xEDB88320)


def crc(table, data):
    value = 0xFFFFFFFF
    for byte in data:
        value = (value >> 8) ^ table[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


# ---- XXH3-128, seed 0 -----------------------------------------------------------------------------------------------------------

SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221"
    "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb"
    "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e")
P32 = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)
P64 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
M32, M64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF


def r32(data, at):
    return struct.unpack_from("<I", data, at)[0]


def r64(data, at):
    return struct.unpack_from("<Q", data, at)[0]


def fold(a, b):
    product = a * b
    return (product & M64) ^ (product >> 64)


def avalanche(h):
    h ^= h >> 37
    h = h * 0x165667919E3779F9 & M64
    return h ^ (h >> 32)


def avalanche64(h):
    h ^= h >> 33
    h = h * P64[1] & M64
    h ^= h >> 29
    h = h * P64[2] & M64
    return h ^ (h >> 32)


def swap(value, size):
    return int.from_bytes(value.to_bytes(size, "little"), "big")


def mix16(data, at, secret):
    return fold(r64(data, at) ^ r64(SECRET, secret), r64(data, at + 8) ^ r64(SECRET, secret + 8))


def xxh3_128(data):
    n = len(data)
    if n == 0:
        return avalanche64(r64(SECRET, 64) ^ r64(SECRET, 72)), avalanche64(r64(SECRET, 80) ^ r64(SECRET, 88))
    if n <= 3:
        low = data[0] << 16 | data[n >> 1] << 24 | data[-1] | n << 8
        high = swap(low, 4)
        high = (high << 13 | high >> 19) & M32
        return (avalanche64(low ^ (r32(SECRET, 0) ^ r32(SECRET, 4))),
                avalanche64(high ^ (r32(SECRET, 8) ^ r32(SECRET, 12))))
    if n <= 8:
        value = (r32(data, 0) + (r32(data, n - 4) << 32)) & M64
        keyed = value ^ (r64(SECRET, 16) ^ r64(SECRET, 24))
        product = keyed * (P64[0] + (n << 2))
        low, high = product & M64, product >> 64 & M64
        high = (high + (low << 1)) & M64
        low ^= high >> 3
        low ^= low >> 35
        low = low * 0x9FB21C651E98DF25 & M64
        low ^= low >> 28
        return low, avalanche(high)
    if n <= 16:
        flip_low, flip_high = r64(SECRET, 32) ^ r64(SECRET, 40), r64(SECRET, 48) ^ r64(SECRET, 56)
        first, last = r64(data, 0), r64(data, n - 8)
        product = (first ^ last ^ flip_low) * P64[0]
        low, high = product & M64, product >> 64
        low = (low + ((n - 1) << 54)) & M64
        last ^= flip_high
        high = (high + last + (last & M32) * (P32[1] - 1)) & M64
        low ^= swap(high, 8)
        product = low * P64[1]
        low, upper = product & M64, product >> 64
        high = (upper + high * P64[1]) & M64
        return avalanche(low), avalanche(high)
    if n <= 240:
        low, high = n * P64[0] & M64, 0

        def mix32(at1, at2, secret):
            nonlocal low, high
            low = (low + mix16(data, at1, secret)) & M64
            low ^= (r64(data, at2) + r64(data, at2 + 8)) & M64
            high = (high + mix16(data, at2, secret + 16)) & M64
            high ^= (r64(data, at1) + r64(data, at1 + 8)) & M64

        if n <= 128:
            for i in range((n - 1) // 32, -1, -1):
                mix32(16 * i, n - 16 * (i + 1), 32 * i)
        else:
            for i in range(4):
                mix32(32 * i, 32 * i + 16, 32 * i)
            low, high = avalanche(low), avalanche(high)
            for i in range(4, n // 32):
                mix32(32 * i, 32 * i + 16, 3 + 32 * (i - 4))
            mix32(n - 16, n - 32, 136 - 17 - 16)
        return (avalanche((low + high) & M64),
                -avalanche((low * P64[0] + high * P64[3] + n * P64[1]) & M64) & M64)
    acc = [P32[2], P64[0], P64[1], P64[2], P64[3], P32[1], P64[4], P32[0]]

    def stripe(at, secret):
        words = struct.unpack_from("<8Q", data, at)
        keys = struct.unpack_from("<8Q", SECRET, secret)
        for i in range(8):
            key = words[i] ^ keys[i]
            acc[i ^ 1] = (acc[i ^ 1] + words[i]) & M64
            acc[i] = (acc[i] + (key & M32) * (key >> 32)) & M64

    per_block = (192 - 64) // 8
    blocks = (n - 1) // (64 * per_block)
    for block in range(blocks):
        for i in range(per_block):
            stripe(block * 64 * per_block + 64 * i, 8 * i)
        keys = struct.unpack_from("<8Q", SECRET, 192 - 64)
        for i in range(8):
            acc[i] = ((acc[i] ^ (acc[i] >> 47) ^ keys[i]) * P32[0]) & M64
    begin = blocks * 64 * per_block
    for i in range((n - 1 - begin) // 64):
        stripe(begin + 64 * i, 8 * i)
    stripe(n - 64, 192 - 64 - 7)

    def merge(secret, start):
        for i in range(0, 8, 2):
            start += fold(acc[i] ^ r64(SECRET, secret + 8 * i), acc[i + 1] ^ r64(SECRET, secret + 8 * i + 8))
        return avalanche(start & M64)

    return merge(11, n * P64[0] & M64), merge(192 - 64 - 11, ~(n * P64[1]) & M64)


def content_id(data):
    low, high = xxh3_128(data)
    return struct.pack(">QQ", high, low)


# ---- ciphers ----------------------------------------------------------------------------------------------------------------------


def quarter(s, a, b, c, d):
    s[a] = s[a] + s[b] & M32
    x = s[d] ^ s[a]
    s[d] = (x << 16 | x >> 16) & M32
    s[c] = s[c] + s[d] & M32
    x = s[b] ^ s[c]
    s[b] = (x << 12 | x >> 20) & M32
    s[a] = s[a] + s[b] & M32
    x = s[d] ^ s[a]
    s[d] = (x << 8 | x >> 24) & M32
    s[c] = s[c] + s[d] & M32
    x = s[b] ^ s[c]
    s[b] = (x << 7 | x >> 25) & M32


def chacha_rounds(state):
    for _ in range(10):
        for a, b, c, d in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
                           (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            quarter(state, a, b, c, d)


SIGMA = struct.unpack("<4I", b"expand 32-byte k")


def chacha_stream(key, nonce, counter, size):
    out = bytearray()
    base = list(SIGMA + struct.unpack("<8I", key))
    tail = list(struct.unpack("<3I", nonce))
    while len(out) < size:
        first = base + [counter] + tail
        state = list(first)
        chacha_rounds(state)
        out += struct.pack("<16I", *((x + y) & M32 for x, y in zip(state, first)))
        counter += 1
    return bytes(out[:size])


def xor(a, b):
    return (int.from_bytes(a, "little") ^ int.from_bytes(b, "little")).to_bytes(len(a), "little") if a else b""


def pad16(data):
    return data + bytes(-len(data) % 16)


def poly1305(key, data):
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    value = 0
    for at in range(0, len(data), 16):
        value = (value + int.from_bytes(data[at:at + 16] + b"\x01", "little")) * r % ((1 << 130) - 5)
    return ((value + int.from_bytes(key[16:], "little")) & ((1 << 128) - 1)).to_bytes(16, "little")


def xchacha_open(key, nonce, ad, sealed):
    state = list(SIGMA + struct.unpack("<8I", key) + struct.unpack("<4I", nonce[:16]))
    chacha_rounds(state)
    subkey = struct.pack("<8I", *(state[:4] + state[12:]))
    nonce = bytes(4) + nonce[16:]
    text, tag = sealed[:-16], sealed[-16:]
    mac = poly1305(chacha_stream(subkey, nonce, 0, 32),
                   pad16(ad) + pad16(text) + struct.pack("<QQ", len(ad), len(text)))
    if mac != tag:
        raise ValueError("wrong tag")
    return xor(text, chacha_stream(subkey, nonce, 1, len(text)))


def gf_times2(x):
    return x << 1 ^ (0x11B if x & 0x80 else 0)


def make_sbox():
    box, p, q = [0] * 256, 1, 1
    while True:
        p ^= gf_times2(p)  # times 3; gf_times2 has reduced it already
        q ^= q << 1
        q ^= q << 2
        q ^= q << 4
        q &= 0xFF
        if q & 0x80:
            q ^= 0x09
        x = q ^ (q << 1 | q >> 7) ^ (q << 2 | q >> 6) ^ (q << 3 | q >> 5) ^ (q << 4 | q >> 4)
        box[p] = (x ^ 0x63) & 0xFF
        if p == 1:
            break
    box[0] = 0x63
    return box


SBOX = make_sbox()
T0 = []
for value in SBOX:
    double = gf_times2(value) & 0xFF
    T0.append(double << 24 | value << 16 | value << 8 | (double ^ value))
T1 = [(x >> 8 | x << 24) & M32 for x in T0]
T2 = [(x >> 8 | x << 24) & M32 for x in T1]
T3 = [(x >> 8 | x << 24) & M32 for x in T2]


def aes_key(key):
    words, rcon = list(struct.unpack(">8I", key)), 1
    for i in range(8, 60):
        x = words[i - 1]
        if i % 8 == 0:
            x = (x << 8 | x >> 24) & M32
        if i % 4 == 0:
            x = SBOX[x >> 24] << 24 | SBOX[x >> 16 & 255] << 16 | SBOX[x >> 8 & 255] << 8 | SBOX[x & 255]
        if i % 8 == 0:
            x ^= rcon << 24
            rcon <<= 1
        words.append(words[i - 8] ^ x)
    return words


def aes_block(words, block):
    a, b, c, d = (x ^ w for x, w in zip(struct.unpack(">4I", block), words))
    for at in range(4, 56, 4):
        a, b, c, d = (
            T0[a >> 24] ^ T1[b >> 16 & 255] ^ T2[c >> 8 & 255] ^ T3[d & 255] ^ words[at],
            T0[b >> 24] ^ T1[c >> 16 & 255] ^ T2[d >> 8 & 255] ^ T3[a & 255] ^ words[at + 1],
            T0[c >> 24] ^ T1[d >> 16 & 255] ^ T2[a >> 8 & 255] ^ T3[b & 255] ^ words[at + 2],
            T0[d >> 24] ^ T1[a >> 16 & 255] ^ T2[b >> 8 & 255] ^ T3[c & 255] ^ words[at + 3])
    out = []
    for p, q, r, s, w in ((a, b, c, d, 56), (b, c, d, a, 57), (c, d, a, b, 58), (d, a, b, c, 59)):
        out.append((SBOX[p >> 24] << 24 | SBOX[q >> 16 & 255] << 16 | SBOX[r >> 8 & 255] << 8 | SBOX[s & 255])
                   ^ words[w])
    return struct.pack(">4I", *out)


def ghash_tables(h):
    """tables[i][byte] = byte at position i (0 = first) times H."""
    powers, value = [], int.from_bytes(h, "big")
    for _ in range(128):
        powers.append(value)
        value = value >> 1 ^ (0xE1 << 120 if value & 1 else 0)
    tables = []
    for i in range(16):
        row = [0] * 256
        for bit in range(8):
            row[0x80 >> bit] = powers[8 * i + bit]
        for byte in range(1, 256):
            low = byte & -byte
            row[byte] = row[low] ^ row[byte ^ low]
        tables.append(row)
    return tables


def gcm_open(key, nonce, ad, sealed):
    words = aes_key(key)
    text, tag = sealed[:-16], sealed[-16:]
    tables = ghash_tables(aes_block(words, bytes(16)))
    value = 0
    data = pad16(ad) + pad16(text) + struct.pack(">QQ", 8 * len(ad), 8 * len(text))
    for at in range(0, len(data), 16):
        block = (value ^ int.from_bytes(data[at:at + 16], "big")).to_bytes(16, "big")
        value = 0
        for i in range(16):
            value ^= tables[i][block[i]]
    if xor(value.to_bytes(16, "big"), aes_block(words, nonce + struct.pack(">I", 1))) != tag:
        raise ValueError("wrong tag")
    stream = b"".join(aes_block(words, nonce + struct.pack(">I", 2 + i)) for i in range((len(text) + 15) // 16))
    return xor(text, stream[:len(text)])


# ---- erasure code over GF(2^8), polynomial 0x11d --------------------------------------------------------------------------------

EXP, LOG = [0] * 512, [0] * 256
x = 1
for i in range(255):
    EXP[i] = EXP[i + 255] = x
    LOG[x] = i
    x <<= 1
    if x & 0x100:
        x ^= 0x11D


def gf_mul(a, b):
    return EXP[LOG[a] + LOG[b]] if a and b else 0


def gf_inv(a):
    return EXP[255 - LOG[a]]


def code_row(i, k):
    return [int(i == j) for j in range(k)] if i < k else [gf_inv(i ^ j) for j in range(k)]


def ec_decode(pieces, k):
    """pieces: {index: bytes}, at least k of them. The k data pieces, joined."""
    have = sorted(pieces)[:k]
    rows = [code_row(i, k) + [int(a == b) for b in range(k)] for a, i in enumerate(have)]
    for col in range(k):
        pivot = next(r for r in range(col, k) if rows[r][col])
        rows[col], rows[pivot] = rows[pivot], rows[col]
        inverse = gf_inv(rows[col][col])
        rows[col] = [gf_mul(v, inverse) for v in rows[col]]
        for r in range(k):
            if r != col and rows[r][col]:
                factor = rows[r][col]
                rows[r] = [v ^ gf_mul(factor, w) for v, w in zip(rows[r], rows[col])]
    out = []
    for want in range(k):
        if want in pieces and want in have:
            out.append(pieces[want])
            continue
        total = 0
        for c, i in enumerate(have):
            factor = rows[want][k + c]
            if factor:
                table = bytes(gf_mul(factor, v) for v in range(256))
                total ^= int.from_bytes(pieces[i].translate(table), "little")
        out.append(total.to_bytes(len(pieces[have[0]]), "little"))
    return b"".join(out)


# ---- the format ---------------------------------------------------------------------------------------------------------------------


def fail(text):
    sys.exit("native_reader: " + text)


def need(condition, text):
    if not condition:
        fail(text)


class Volume:
    def __init__(self, top):
        self.top = top
        keys = {}
        for line in open(os.path.join(top, "volume.key")):
            if "=" in line and not line.startswith("#"):
                name, value = line.split("=", 1)
                keys[name.strip()] = bytes.fromhex(value.strip())
        self.id = keys["volume"]
        self.epochs = {int(name[6:]): key for name, key in keys.items() if name.startswith("epoch.")}
        self.names = keys.get("names") or self.kdf(1, self.epochs[1])
        self.metas = self.stores("meta")
        self.data = self.stores("data")
        self.read_identities()

    @staticmethod
    def kdf(number, key):
        return hashlib.blake2b(b"", digest_size=32, key=key, salt=struct.pack("<QQ", number, 0),
                               person=b"qsfs_nat" + bytes(8)).digest()

    def stores(self, kind):
        found = {}
        for name in os.listdir(self.top):
            if name.startswith(kind) and name[len(kind):].isdigit():
                where = os.path.join(self.top, name)
                found[name] = {bytes.fromhex(f): open(os.path.join(where, f), "rb").read()
                               for f in os.listdir(where)}
        return found

    def read_identities(self):
        self.slots = {}
        for label, values in self.metas.items():
            bytes_ = values[b"/vol/qsfs"]
            need(len(bytes_) == 88 and bytes_[:6] == b"QSV1\x01\x00", label + ": not an identity")
            epoch = struct.unpack_from("<H", bytes_, 6)[0]
            check = self.kdf(4, self.epochs[epoch])
            mac = hashlib.blake2b(self.id, digest_size=16, key=check).digest()
            need(bytes_[56:72] == mac, label + ": key check")
            need(bytes_[72:] == hashlib.blake2b(bytes_[:72], digest_size=16, key=check).digest(), label + ": hash")
            self.k, self.n, slot = bytes_[48:51]
            self.generation = struct.unpack_from("<Q", bytes_, 32)[0]
            self.slots[slot] = label

    def name(self, kind, number, namespace):
        text = self.id + struct.pack("<QBQ", self.generation, kind, number) + namespace
        return hashlib.blake2b(text, digest_size=16, key=self.names).digest()

    def record(self, name, slots):
        pieces, first = {}, None
        for slot in slots:
            value = self.metas[self.slots[slot]][b"/vol/q/" + name.hex().encode()]
            need(value[:4] == b"QSM1" and value[8] == slot and value[9:12] == bytes(3), "piece of a record")
            need(crc(CRC32C, value[:-4]) == r32(value, len(value) - 4), "checksum of a record")
            pieces[slot], first = value[48:-4], value
        epoch, k, n = struct.unpack_from("<HBB", first, 4)
        need((k, n) == (self.k, self.n), "geometry of a record")
        sealed = ec_decode(pieces, k)[:r32(first, 12)]
        ad = self.id + name + first[:8] + first[12:24]
        return Record(self, name, xchacha_open(self.kdf(3, self.epochs[epoch]), first[24:48], ad, sealed))


class Record:
    def __init__(self, volume, name, plain):
        need(plain[:4] == b"QSR1" and plain[311] == 0, "magic of a record")
        self.volume, self.public, self.box = volume, plain[4:76], plain[76:310]
        (magic, version, self.cipher, b, c, self.k, self.n, epoch, self.stripes) = struct.unpack_from(
            "<4sBBBBBBHI", self.public)
        need(magic == b"QSF1" and version == 1, "magic of P")
        self.stripe, self.value = 1 << b, 1 << c
        need(self.public[16:32] == volume.id and self.public[32:48] == name, "volume or name of P")
        self.object = self.public[48:64]
        private = xchacha_open(volume.kdf(2, volume.epochs[epoch]), self.box[:24], self.public, self.box[24:])
        self.key, self.content = private[:32], private[32:48]
        self.size, self.number, self.kind, ns_len = struct.unpack_from("<QQBB", private, 48)
        self.namespace = private[66:66 + ns_len]
        need(private[66 + ns_len:] == bytes(128 - ns_len), "zeros of F")
        need(self.stripes == max(1, -(-self.size // self.stripe)), "number of stripes")
        at = 312
        self.sealed = struct.unpack_from("<%dI" % self.stripes, plain, at)
        at += 4 * self.stripes
        self.lay_out()
        self.shards = {}
        for _ in range(plain[310]):
            index, kind, length = plain[at:at + 3]
            label = plain[at + 3:at + 3 + length].decode()
            at += 3 + length
            keys = None
            if kind == 1:
                keys = [plain[at + 8 * v:at + 8 * v + 8] for v in range(1 + self.values)]
                at += 8 * (1 + self.values)
            self.shards[index] = (label, kind, keys)
        need(at == len(plain), "length of a record")

    def lay_out(self):
        self.places, self.values, used = [], 1, 0
        for sealed in self.sealed:
            length = 80 + -(-sealed // self.k)
            if used and used + length > self.value:
                self.values, used = self.values + 1, 0
            self.places.append((self.values, used, length))
            used += length

    def fetch(self, index, number):
        label, kind, keys = self.shards[index]
        key = keys[number] if kind == 1 else b"qsfs:%s:%02x:%04x" % (self.object.hex().encode(), index, number)
        return self.volume.data[label][key]

    def check_heads(self):
        for index, (_, kind, keys) in self.shards.items():
            head = self.fetch(index, 0)
            need(head[:72] == self.public and head[72:306] == self.box, "P or box of a head")
            need(head[306] == index and head[307] == kind and r32(head, 308) == self.values, "fields of a head")
            need(head[312:-4] == (b"".join(keys[1:]) if kind == 1 else b""), "keys of a head")
            need(crc(CRC32C, head[:-4]) == r32(head, len(head) - 4), "checksum of a head")

    def fragment(self, index, stripe):
        value, offset, length = self.places[stripe]
        data = self.fetch(index, value)[offset:offset + length]
        fields = struct.unpack_from("<IIIQB", data)
        piece = data[80:]
        need(fields == (index, length - 80, 0, self.sealed[stripe], 2), "header of a fragment")
        need(r32(data, 21) == crc(CRC32, piece) and data[25:54] == bytes(29) and data[54] == 7, "checksum of a fragment")
        need(r32(data, 59) == 0x0B0C5ECC and r32(data, 67) == crc(CRC32, data[:59]) and data[71:80] == bytes(9),
             "crc of a fragment's header")
        return piece

    def read(self, indices, unpack):
        out = []
        for s in range(self.stripes):
            sealed = ec_decode({i: self.fragment(i, s) for i in indices}, self.k)[:self.sealed[s]]
            plain = min(self.stripe, self.size - s * self.stripe)
            flags = sealed[0]
            need(flags & ~3 == 0 and bool(flags & 2) == (s == self.stripes - 1), "flags of a stripe")
            ad = self.volume.id + self.object + struct.pack("<QII", s, plain, flags)
            opener, nonce = (gcm_open, 12) if self.cipher == 1 else (xchacha_open, 24)
            body = opener(self.key, struct.pack("<Q", s) + bytes(nonce - 8), ad, sealed[1:])
            if flags & 1:
                need(len(body) <= plain - -(-plain // 16), "gain of a packed stripe")
                if not unpack:
                    return None
                body = subprocess.run([unpack, "-dcq"], input=body, stdout=subprocess.PIPE, check=True).stdout
            need(len(body) == plain, "length of a stripe")
            out.append(body)
        data = b"".join(out)
        need(content_id(data) == self.content, "content id")
        return data


def main(top):
    volume, unpack = Volume(top), shutil.which("zstd")
    names = sorted(os.listdir(os.path.join(top, "expect")))
    need(names, "nothing to read")
    for file in names:
        want = open(os.path.join(top, "expect", file), "rb").read()
        kind, number, namespace = file.split(".", 2)
        name = volume.name(int(kind), int(number), namespace.encode())
        for slots in itertools.combinations(range(volume.n), volume.k):
            record = volume.record(name, slots)
        need((record.kind, record.number, record.namespace) == (int(kind), int(number), namespace.encode()), "F")
        record.check_heads()
        choices = list(itertools.combinations(sorted(record.shards), record.k))
        for choice in (choices if len(want) < 5000 else [choices[len(want) % len(choices)]]):
            data = record.read(choice, unpack)
            if data is not None and data != want:
                fail("%s: other bytes from shards %s" % (file, choice))
        print("%s: %d bytes, cipher %d, %d+%d%s" % (file, len(want), record.cipher, record.k, record.n - record.k,
                                                   "" if data is not None else ", packed: opened, not unpacked"))


if __name__ == "__main__":
    main(sys.argv[1])
