//! Which of several final responses goes back (RFC 3261 §16.7 step 6).

use super::branch::Verdict;

/// Orders final responses: the least is the best.
pub(super) fn rank(code: u16) -> u8 {
    match code {
        // RFC 3261 §16.7 step 6: a 6xx speaks for the user everywhere; else the lowest class.
        600..=699 => 0,
        300..=399 => 1,
        // The same step prefers those that tell the caller how to try again.
        401 | 407 | 415 | 420 | 484 => 2,
        // Then what is known of the callee comes before what is not.
        486 => 3,
        480 | 430 => 4,
        404 => 6,
        408 => 7,
        400..=499 => 5,
        _ => 8,
    }
}

/// Chooses the best of several verdicts; of equals the first.
pub(super) fn choose<'a>(verdicts: impl Iterator<Item = &'a Verdict>) -> Option<&'a Verdict> {
    verdicts.min_by_key(|verdict| rank(verdict.code()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_preferred_in_the_order_that_helps_the_caller() {
        let order = [603, 302, 407, 486, 480, 487, 404, 408, 500];
        let mut sorted = order;
        sorted.sort_by_key(|code| rank(*code));
        assert_eq!(sorted, order);
    }

    #[test]
    fn the_first_of_equals_is_chosen() {
        let verdicts = [Verdict::Own(404), Verdict::Own(401), Verdict::Own(407)];
        assert_eq!(choose(verdicts.iter()).map(Verdict::code), Some(401));
        assert!(choose(std::iter::empty()).is_none());
    }
}
