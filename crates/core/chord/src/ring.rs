//! Arithmetic on the ring of 2^128 places (RFC 6940 §10.1). All of it is modulo 2^128.

/// Steps clockwise from one place to another.
pub(crate) const fn distance(from: u128, to: u128) -> u128 {
    to.wrapping_sub(from)
}

/// Tells whether `x` lies strictly between `a` and `b`, clockwise. From a place to itself is the whole ring.
pub(crate) const fn is_between(a: u128, x: u128, b: u128) -> bool {
    let to_x = distance(a, x);
    to_x != 0 && (a == b || to_x < distance(a, b))
}

/// Tells whether `x` lies in `(a, b]`. From a place to itself is the whole ring.
pub(crate) const fn is_within(a: u128, x: u128, b: u128) -> bool {
    a == b || (a != x && distance(a, x) <= distance(a, b))
}

/// Reflects a place, so that what was counter-clockwise becomes clockwise: one walk serves both lists.
pub(crate) const fn mirror(x: u128) -> u128 {
    !x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_wrap() {
        assert!(is_between(u128::MAX, 0, 1));
        assert!(!is_between(5, 5, 9) && !is_between(5, 9, 9) && is_within(5, 9, 9));
        assert!(is_between(7, 1, 7) && !is_between(7, 7, 7) && is_within(7, 7, 7));
        assert!(!is_within(3, 3, 9));
    }

    #[test]
    fn mirror_turns_the_ring_around() {
        assert_eq!(distance(mirror(9), mirror(5)), distance(5, 9));
    }
}
