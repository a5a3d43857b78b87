//! How a table that many senders fill stays open to those that are still to come.

/// Whether a sender that has `own` of the `taken` places may have one more of `all`: nobody has more places than are left
/// free. However many senders are greedy, each gets as much as stays free for one that is not.
pub(crate) fn may_take(own: usize, taken: usize, all: usize) -> bool {
    own < all.saturating_sub(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greedy_senders_leave_as_much_as_each_of_them_has() {
        for greedy in [1, 2, 4, 16, 100] {
            let mut own = vec![0; greedy];
            for _ in 0..5000 {
                for n in 0..greedy {
                    let taken = own.iter().sum();
                    own[n] += usize::from(may_take(own[n], taken, 4096));
                }
            }
            let free = 4096 - own.iter().sum::<usize>();
            assert!(free >= 4096 / (greedy + 1), "{greedy} greedy senders leave {free}");
            assert!(own.iter().all(|own| own.abs_diff(free) <= greedy), "{own:?} and {free}");
        }
    }
}
