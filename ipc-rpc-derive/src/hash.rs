//! The hash behind ordinals and fingerprints.

/// FNV-1a, 64 bits. Both sides of a connection, built by different compilers at different times, must get the same
/// number, so it is one that is written down: <http://www.isthe.com/chongo/tech/comp/fnv/>.
pub(crate) fn fnv1a_64(text: &str) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    text.bytes().fold(OFFSET_BASIS, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(PRIME)
    })
}

#[cfg(test)]
mod tests {
    use super::fnv1a_64;

    /// From the test vectors of the algorithm's authors.
    #[test]
    fn agrees_with_the_published_vectors() {
        assert_eq!(fnv1a_64(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a_64("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a_64("foobar"), 0x8594_4171_f739_67e8);
    }

    /// Programs that are built apart rely on it: a change here breaks every deployed service.
    #[test]
    fn ordinals_never_change() {
        assert_eq!(fnv1a_64("Store.get"), 0xdc5a_d183_936c_b6fc);
    }
}
