"""ristretto255 (RFC 9496): points in extended coordinates over plain integers, nothing in constant time."""

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)
SQRT_AD_MINUS_ONE = 25063068953384623474111414158702152701244531502492656460079210482610430750235
INVSQRT_A_MINUS_D = 54469307008909316920995813868745141605393597292927456921205312896311721017578
ONE_MINUS_D_SQ = (1 - D * D) % P
D_MINUS_ONE_SQ = (D - 1) * (D - 1) % P
# RFC 9496 fixes the signs of both; that they are roots at all is checked here.
assert (SQRT_AD_MINUS_ONE**2 + D + 1) % P == 0 and (INVSQRT_A_MINUS_D**2 * (-1 - D) - 1) % P == 0

IDENTITY = (0, 1, 1, 0)


def magnitude(value):
    """Of a number and its negative the one that is even."""
    return P - value if value & 1 else value


def root_of_ratio(u, v):
    """Whether u/v is a square, and the non-negative root of it or of SQRT_M1*u/v."""
    cubed = v * v % P * v % P
    root = u * cubed % P * pow(u * cubed % P * cubed % P * v % P, (P - 5) // 8, P) % P
    check = v * root % P * root % P
    is_square, is_flipped = check == u % P, check == -u % P
    if is_flipped or check == -u * SQRT_M1 % P:
        root = root * SQRT_M1 % P
    return is_square or is_flipped, magnitude(root)


def decoded(data):
    """The point of 32 canonical bytes; None if they are none."""
    s = int.from_bytes(data, "little")
    if len(data) != 32 or s >= P or s & 1:
        return None
    squared = s * s % P
    u1, u2 = (1 - squared) % P, (1 + squared) % P
    u2_squared = u2 * u2 % P
    v = (-D * u1 % P * u1 - u2_squared) % P
    is_square, inverse = root_of_ratio(1, v * u2_squared % P)
    den_x = inverse * u2 % P
    x = magnitude(2 * s * den_x % P)
    y = u1 * inverse % P * den_x % P * v % P
    t = x * y % P
    return None if not is_square or t & 1 or y == 0 else (x, y, 1, t)


def encoded(point):
    x, y, z, t = point
    u1, u2 = (z + y) * (z - y) % P, x * y % P
    _, inverse = root_of_ratio(1, u1 * u2 % P * u2 % P)
    den1, den2 = inverse * u1 % P, inverse * u2 % P
    z_inverse = den1 * den2 % P * t % P
    if t * z_inverse % P & 1:
        x, y, den2 = y * SQRT_M1 % P, x * SQRT_M1 % P, den1 * INVSQRT_A_MINUS_D % P
    if x * z_inverse % P & 1:
        y = -y % P
    return magnitude(den2 * (z - y) % P).to_bytes(32, "little")


def added(one, other):
    x1, y1, z1, t1 = one
    x2, y2, z2, t2 = other
    a, b = (y1 - x1) * (y2 - x2) % P, (y1 + x1) * (y2 + x2) % P
    c, d = 2 * D * t1 % P * t2 % P, 2 * z1 * z2 % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def doubled(point):
    x, y, z, _ = point
    a, b, c = x * x % P, y * y % P, 2 * z * z % P
    h, g = a + b, a - b
    e, f = h - (x + y) * (x + y) % P, c + g
    return e * f % P, g * h % P, f * g % P, e * h % P


def negated(point):
    x, y, z, t = point
    return -x % P, y, z, -t % P


def is_identity(point):
    """In the quotient group: of the four points of small order each is one."""
    x, y, _, _ = point
    return x == 0 or y == 0


def times(scalar, point):
    return combined([scalar], [point])


def combined(scalars, points):
    """The sum of scalar*point, by buckets (Pippenger)."""
    pairs = [(scalar % ORDER, point) for scalar, point in zip(scalars, points, strict=True) if scalar % ORDER]
    width = max(2, len(pairs).bit_length() - 2)
    total = IDENTITY
    for low in range((253 // width) * width, -1, -width):
        for _ in range(width):
            total = doubled(total)
        buckets = [None] * (1 << width)
        for scalar, point in pairs:
            digit = scalar >> low & (1 << width) - 1
            if digit:
                buckets[digit] = sum_of(buckets[digit], point)
        running = window = None
        for bucket in reversed(buckets[1:]):
            running = sum_of(running, bucket)
            window = sum_of(window, running)
        total = added(total, window) if window else total
    return total


def sum_of(one, other):
    """As `added`, where nothing yet is None."""
    return added(one, other) if one and other else one or other


def mapped(data):
    """The point of 64 uniform bytes (RFC 9496, 4.3.4)."""
    return added(elligator(data[:32]), elligator(data[32:]))


def elligator(data):
    t = int.from_bytes(data, "little") % 2**255 % P
    r = SQRT_M1 * t % P * t % P
    u, v = (r + 1) * ONE_MINUS_D_SQ % P, (-1 - r * D) * (r + D) % P
    is_square, s = root_of_ratio(u, v)
    c = P - 1
    if not is_square:
        s, c = -magnitude(s * t % P) % P, r
    n = (c * (r - 1) % P * D_MINUS_ONE_SQ - v) % P
    w0, w1 = 2 * s * v % P, n * SQRT_AD_MINUS_ONE % P
    w2, w3 = (1 - s * s) % P, (1 + s * s) % P
    return w0 * w3 % P, w2 * w1 % P, w1 * w3 % P, w0 * w2 % P


def is_x25519_key(data):
    """Whether these bytes are the x-coordinate of a point of curve25519 that is not of small order."""
    x = (int.from_bytes(data, "little") & ((1 << 255) - 1)) % P
    square = (x**3 + 486662 * x * x + x) % P
    return x not in SMALL_ORDER and pow(square, (P - 1) // 2, P) == 1


# The x-coordinates of the points of order 2, 4 and 8.
SMALL_ORDER = (
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)

G = decoded(bytes.fromhex("e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76"))
