//! Every type of the list through every codec: it comes back as it was, or the side named refuses it with the reason.
//! Then each message is cut at every byte and flipped at every bit: whatever that decodes to, it costs no more than
//! its budget and breaks nothing.

use ipc_rpc::__private::codec::{Budget, CodecErrorKind, decode, encode};
use ipc_rpc::Codec;

use crate::meter::cost;
use crate::values::*;

struct Exception {
    codec: Codec,
    kind: CodecErrorKind,
    text: &'static str,
}

const CODECS: [Codec; 2] = [Codec::Bincode, Codec::Json];

/// More than any message of the list.
const LIMIT: usize = 1 << 20;

fn check<T: Value>(value: &T, exceptions: &[Exception]) {
    for codec in CODECS {
        let exception = exceptions.iter().find(|exception| exception.codec == codec);
        let mut body = b"before".to_vec();
        let result = encode(codec, value, &mut body, LIMIT)
            .and_then(|()| decode::<T>(codec, &body[6..], &Budget::for_body(body.len() - 6)));
        match (result, exception) {
            (Ok(copy), None) => {
                assert_eq!(copy, *value, "{codec}");
                damage::<T>(codec, &body[6..]);
            }
            (Err(error), Some(exception)) => {
                assert_eq!(error.kind, exception.kind, "{codec}: {error}");
                assert!(error.message.contains(exception.text), "{codec}: {error}");
                if error.kind == CodecErrorKind::Encode {
                    assert_eq!(
                        body, b"before",
                        "{codec}: a failed encoding leaves something behind"
                    );
                }
            }
            (Ok(copy), Some(_)) => panic!("{codec} carries {value:?} after all, as {copy:?}"),
            (Err(error), None) => panic!("{codec} does not carry {value:?}: {error}"),
        }
    }
}

/// Decodes every prefix of the message, and the message with every bit flipped.
fn damage<T: Value>(codec: Codec, body: &[u8]) {
    for end in 0..body.len() {
        let result = bounded::<T>(codec, &body[..end]);
        // In bincode every byte is needed; in JSON a number is one without its last digits, too.
        assert!(
            codec == Codec::Json || result.is_err(),
            "{end} of {} bytes are enough",
            body.len()
        );
    }
    let mut damaged = body.to_vec();
    for bit in 0..body.len() * 8 {
        damaged[bit / 8] ^= 1 << (bit % 8);
        let _ = bounded::<T>(codec, &damaged);
        damaged[bit / 8] ^= 1 << (bit % 8);
    }
}

fn bounded<T: Value>(codec: Codec, body: &[u8]) -> Result<T, String> {
    let budget = Budget::for_body(body.len());
    let (result, cost) = cost(|| decode::<T>(codec, body, &budget));
    // Small messages stay far below the budget: nothing is reserved on the word of the sender.
    let most = 64 * body.len() + 8192;
    assert!(
        cost.peak <= most,
        "{codec}: {} bytes allocated for {} bytes: {result:?}",
        cost.peak,
        body.len()
    );
    result.map_err(|error| {
        assert_eq!(error.kind, CodecErrorKind::Decode);
        assert!(!error.message.is_empty() && error.message.len() < 1000, "{error}");
        error.message
    })
}

macro_rules! tests {
    ($($name:ident: $type:ty = [$($value:expr),+ $(,)?] $(, not($codec:ident, $kind:ident, $text:literal))*;)*) => {$(
        #[test]
        fn $name() {
            let exceptions: &[Exception] = &[$(Exception {
                codec: Codec::$codec,
                kind: CodecErrorKind::$kind,
                text: $text,
            }),*];
            let values: Vec<$type> = vec![$($value),+];
            for value in &values {
                check(value, exceptions);
            }
        }
    )*};
}

for_each_type!(tests);
