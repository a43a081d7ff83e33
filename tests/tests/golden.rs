//! The services whose expansions `tests/golden` records, at work: each is called through its client, with either codec.
//!
//! That the expansions are as recorded is tested where the macro is, in `ipc-rpc-derive`.
#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap is a failed test, also in a handler"
)]
#![allow(
    unreachable_pub,
    reason = "the services are written as a library would write them"
)]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use ipc_rpc::{CallError, Codec, Context, Error, Section, ServiceClient, View};

#[path = "../golden/alias.rs"]
mod alias;
#[path = "../golden/borrowed.rs"]
mod borrowed;
#[path = "../golden/conditional.rs"]
mod conditional;
#[path = "../golden/minimal.rs"]
mod minimal;
#[path = "../golden/names.rs"]
mod names;
#[path = "../golden/sections.rs"]
mod sections;
#[path = "../golden/store.rs"]
mod store;

use alias::{Alias, AliasClient, Answer, Failed};
use borrowed::{Borrowed, BorrowedClient, Item};
use conditional::{Conditional, ConditionalClient};
use minimal::{Ping, PingClient};
use names::{Names, NamesClient, T};
use sections::{Sections, SectionsClient};
use store::{Store, StoreClient, StoreError, Version};

const CODECS: [Codec; 2] = [Codec::Bincode, Codec::Json];

/// Longer than anything here takes, and short enough for a person who waits for a failure.
const WATCHDOG: Duration = Duration::from_secs(60);

#[test]
fn minimal_answers() -> Result<(), Error> {
    struct Silent;

    impl Ping for Silent {
        async fn ping(&self) {}
    }

    for codec in CODECS {
        PingClient::in_process(Silent)
            .codec(codec)
            .wait()?
            .ping()
            .wait()?;
    }
    Ok(())
}

/// Refuses the empty key, and remembers the last value.
struct Memory {
    value: Mutex<Option<(String, Vec<u8>)>>,
    lines: Sender<String>,
}

impl Memory {
    fn new() -> (Self, Receiver<String>) {
        let (lines, logged) = channel();
        (
            Self {
                value: Mutex::default(),
                lines,
            },
            logged,
        )
    }
}

impl Store for Memory {
    async fn get(&self, key: &str) -> Option<Vec<u8>> {
        let value = self.value.lock().unwrap();
        value
            .as_ref()
            .filter(|(known, _)| known == key)
            .map(|(_, value)| value.clone())
    }

    async fn put(&self, ctx: &Context, key: &str, value: &[u8]) -> Result<Version, StoreError> {
        assert_eq!(ctx.method(), "Store.put");
        if key.is_empty() {
            return Err(StoreError::Full);
        }
        *self.value.lock().unwrap() = Some((key.to_owned(), value.to_owned()));
        Ok(Version(value.len() as u64))
    }

    async fn log(&self, line: &str) {
        self.lines.send(line.to_owned()).unwrap();
    }

    fn digest(&self, n: u64) -> u64 {
        (0..=n).sum()
    }
}

#[test]
fn store_stores() -> Result<(), Error> {
    for codec in CODECS {
        let (memory, logged) = Memory::new();
        let store = StoreClient::in_process(memory).codec(codec).wait()?;
        assert_eq!(store.get("k").wait()?, None);
        // The second takes more than one byte a letter, and escapes in JSON.
        for key in ["k", "\"ключ\"\n\u{1F5DD}"] {
            let version = store.put(key, &[0, 1, 255]).wait();
            assert_eq!(version.unwrap(), Version(3));
            assert_eq!(store.get(key).wait()?, Some(vec![0, 1, 255]));
        }
        assert!(matches!(
            store.put("", &[]).wait(),
            Err(CallError::Service(StoreError::Full))
        ));
        assert_eq!(store.digest(100).wait()?, 5050);
        store.log("written").wait()?;
        assert_eq!(logged.recv_timeout(WATCHDOG).unwrap(), "written");
    }
    Ok(())
}

#[test]
fn tables_say_what_the_trait_says() {
    let info = StoreClient::INFO;
    assert_eq!(
        (info.name, info.version, info.codec),
        ("Store", 1, Codec::Bincode)
    );
    assert_eq!(info.docs, "Keys and their values.");
    let names: Vec<_> = info.methods.iter().map(|method| method.name).collect();
    assert_eq!(names, ["Store.get", "Store.put", "Store.log", "Store.digest"]);

    let put = info.methods[1];
    assert_eq!(put.signature, "put(&str, &[u8]) -> Result<Version, StoreError>");
    assert_eq!(put.arguments, ["key", "value"]);
    assert_eq!(
        put.docs,
        "Gives a key a value.\n\n# Errors\n`Full` when there is no room."
    );
    assert!(!put.one_way && info.methods[2].one_way);

    let info = ConditionalClient::INFO;
    assert_eq!((info.name, info.version, info.codec), ("cond", 7, Codec::Json));
    let names: Vec<_> = info.methods.iter().map(|method| method.name).collect();
    assert_eq!(
        names,
        [
            "cond.open",
            "cond.old",
            "cond.weigh",
            "cond.measure",
            "cond.matrix"
        ]
    );

    let info = NamesClient::INFO;
    assert_eq!(info.methods[0].name, "Names.type");
    assert_eq!(info.methods[0].signature, "type(u8, &str, &str, T) -> T");
    assert_eq!(info.methods[0].arguments, ["fn", "client", "arguments", "reply"]);
}

struct Turning;

impl Sections for Turning {
    async fn sum(&self, values: View<f32>) -> f64 {
        values.iter().copied().map(f64::from).sum()
    }

    async fn turn(&self, context: &Context, bytes: Section<u8>) -> Section<u8> {
        let mut turned = context.alloc(bytes.len()).unwrap();
        turned.copy_from_slice(&bytes);
        turned.reverse();
        turned
    }

    async fn both(
        &self,
        first: Option<Section<u8>>,
        second: (View<u16>, u8),
    ) -> Result<Section<u16>, String> {
        let first = first.ok_or("there is no first")?;
        Ok(second
            .0
            .iter()
            .map(|value| value + u16::from(first[0]))
            .collect::<Vec<_>>()
            .into())
    }

    async fn all(&self, views: Vec<View<u8>>, lent: &View<u8>) -> u64 {
        views.iter().map(|view| view.len() as u64).sum::<u64>() + lent.len() as u64
    }
}

#[test]
fn sections_travel() -> Result<(), Error> {
    for codec in CODECS {
        let client = SectionsClient::in_process(Turning).codec(codec).wait()?;
        for length in [4, 40_000] {
            let mut values = client.alloc::<f32>(length)?;
            values.fill(0.25);
            assert_eq!(client.sum(values).wait()?, length as f64 / 4.0);
            assert_eq!(client.sum(vec![0.25; length]).wait()?, length as f64 / 4.0);
            let mut bytes = client.alloc_sealed::<u8>(length)?;
            bytes[0] = 7;
            assert_eq!(client.turn(bytes).wait()?.last(), Some(&7));
            let first = Some(vec![1; length].into());
            let both = client.both(first, (vec![2; length].into(), 0)).wait();
            assert_eq!(both.unwrap()[..], vec![3; length]);
            let view = View::from(vec![0; length]);
            let all = client.all(vec![view.clone(), view.clone()], &view).wait()?;
            assert_eq!(all, 3 * length as u64);
        }
        let refused = client.both(None, Default::default()).wait().unwrap_err();
        assert!(matches!(refused, CallError::Service(sentence) if sentence == "there is no first"));
    }
    Ok(())
}

struct Counting;

impl Borrowed for Counting {
    async fn direct(&self, text: &str, bytes: &[u8]) -> usize {
        text.len() + bytes.len()
    }

    async fn lent(&self, item: &Item, items: &[Item], map: &BTreeMap<String, u8>) -> usize {
        item.name.len() + items.len() + map.len()
    }

    async fn optional(&self, text: Option<&str>, bytes: Option<&[u8]>, item: Option<&Item>) -> usize {
        text.map_or(100, str::len) + bytes.map_or(200, <[u8]>::len) + item.map_or(400, |item| item.name.len())
    }

    async fn tuple(&self, mixed: (u8, &str, Option<&[Item]>), single: (&Item,)) -> usize {
        let (number, text, items) = mixed;
        usize::from(number) + text.len() + items.map_or(100, <[Item]>::len) + single.0.name.len()
    }

    async fn nested(&self, pair: Option<(&str, &Item)>, twice: Option<Option<&[u8]>>) -> usize {
        let pair = pair.map_or(100, |(text, item)| text.len() + item.name.len());
        pair + twice.map_or(200, |inner| inner.map_or(400, <[u8]>::len))
    }

    async fn cow(&self, text: Cow<'_, str>, fixed: Cow<'static, str>, lent: &Cow<'_, str>) -> usize {
        text.len() + fixed.len() + lent.len()
    }

    async fn owned(&self, bytes: Vec<u8>, shared: Bytes, text: String) -> Option<(Vec<u8>, Bytes, String)> {
        (!text.is_empty()).then_some((bytes, shared, text))
    }

    async fn path(&self, path: &Path, maybe: Option<&Path>, pair: (u8, &OsStr)) -> PathBuf {
        path.join(maybe.unwrap_or(Path::new("none"))).join(pair.1)
    }

    async fn reference(&self, maybe: &Option<Vec<u8>>) -> Result<Option<Vec<u8>>, (String, u8)> {
        match maybe {
            Some(bytes) if bytes.is_empty() => Err(("empty".to_owned(), 0)),
            other => Ok(other.clone()),
        }
    }
}

#[test]
fn all_ways_to_borrow_arrive() -> Result<(), Error> {
    let item = |name: &str| Item {
        name: name.to_owned(),
    };
    let items = [item("a"), item("b")];
    for codec in CODECS {
        let client = BorrowedClient::in_process(Counting).codec(codec).wait()?;
        assert_eq!(client.direct("te\"xt", &[1, 2]).wait()?, 7);
        let map = BTreeMap::from([("a".to_owned(), 1)]);
        assert_eq!(client.lent(&item("item"), &items, &map).wait()?, 7);

        assert_eq!(
            client
                .optional(Some("\"\""), Some(&[1]), Some(&item("abcd")))
                .wait()?,
            7
        );
        assert_eq!(client.optional(None, None, None).wait()?, 700);

        assert_eq!(client.tuple((7, "text", Some(&items)), (&item("x"),)).wait()?, 14);
        assert_eq!(client.tuple((7, "text", None), (&item("x"),)).wait()?, 112);

        assert_eq!(
            client
                .nested(Some(("text", &item("abc"))), Some(Some(&[1])))
                .wait()?,
            8
        );
        assert_eq!(client.nested(None, None).wait()?, 300);

        let lent = Cow::Borrowed("lent");
        assert_eq!(client.cow("text".into(), "fixed".into(), &lent).wait()?, 13);

        let sent = (vec![1, 2], Bytes::from_static(&[3]), "text".to_owned());
        let back = client
            .owned(sent.0.clone(), sent.1.clone(), sent.2.clone())
            .wait()?;
        assert_eq!(back, Some(sent));

        let path = client
            .path(Path::new("/a"), Some(Path::new("b")), (0, OsStr::new("c")))
            .wait()?;
        assert_eq!(path, Path::new("/a/b/c"));

        assert_eq!(client.reference(&Some(vec![1])).wait().unwrap(), Some(vec![1]));
        let error = client.reference(&Some(vec![])).wait();
        assert!(matches!(error, Err(CallError::Service((text, 0))) if text == "empty"));
    }
    Ok(())
}

struct Failing(bool);

impl Alias for Failing {
    async fn known(&self) -> alias::Result<Vec<u8>> {
        if self.0 { Err(Failed) } else { Ok(vec![1]) }
    }

    async fn named(&self) -> Answer {
        if self.0 { Err(Failed) } else { Ok(2) }
    }

    async fn opaque(&self) -> Answer {
        if self.0 { Err(Failed) } else { Ok(3) }
    }
}

#[test]
fn aliases_of_result_give_the_services_own_error() -> Result<(), Error> {
    for codec in CODECS {
        let well = AliasClient::in_process(Failing(false)).codec(codec).wait()?;
        assert_eq!(well.known().wait().unwrap(), [1]);
        assert_eq!(well.named().wait().unwrap(), 2);
        assert_eq!(well.opaque().wait()?, Ok(3));

        let ill = AliasClient::in_process(Failing(true)).codec(codec).wait()?;
        assert!(matches!(ill.known().wait(), Err(CallError::Service(Failed))));
        assert!(matches!(ill.named().wait(), Err(CallError::Service(Failed))));
        assert_eq!(ill.opaque().wait()?, Err(Failed));
    }
    Ok(())
}

struct Plain;

impl Conditional for Plain {
    #[cfg(unix)]
    async fn open(&self, path: &str) -> u32 {
        path.len() as u32
    }

    #[cfg(not(unix))]
    async fn open(&self, path: &str, share: bool) -> u32 {
        path.len() as u32 + u32::from(share)
    }

    async fn old(&self) -> u8 {
        1
    }

    fn weigh(&self) -> u8 {
        2
    }

    async fn measure(&self) -> u8 {
        3
    }

    async fn matrix(&self, a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8) -> u8 {
        a + b + c + d + e + f + g + h
    }
}

#[test]
fn methods_under_cfg_are_there_or_not() -> Result<(), Error> {
    let client = ConditionalClient::in_process(Plain).wait()?;
    #[cfg(unix)]
    assert_eq!(client.open("path").wait()?, 4);
    #[cfg(not(unix))]
    assert_eq!(client.open("path", true).wait()?, 5);
    #[expect(deprecated, reason = "it still answers")]
    let old = client.old();
    assert_eq!(old.wait()?, 1);
    assert_eq!(client.weigh().wait()?, 2);
    assert_eq!(client.measure().wait()?, 3);
    assert_eq!(client.matrix(1, 2, 3, 4, 5, 6, 7, 8).wait()?, 36);
    Ok(())
}

struct Nameless(Sender<()>);

impl Names for Nameless {
    async fn r#type(&self, r#fn: u8, client: &str, arguments: &str, reply: T) -> T {
        assert_eq!((r#fn, client, arguments), (1, "Ann", "Ann"));
        reply
    }

    async fn locals(
        &self,
        context: &Context,
        payload: u8,
        incoming: u8,
        result: u8,
        error: u8,
        implementation: u8,
    ) -> u8 {
        assert_eq!(context.method(), "Names.locals");
        payload + 10 * incoming + 20 * (result + error + implementation)
    }

    fn rest(&self) -> u8 {
        self.0.send(()).unwrap();
        0
    }
}

#[test]
fn names_and_default_bodies_work() -> Result<(), Error> {
    for codec in CODECS {
        let (rested, rests) = channel();
        let client = NamesClient::in_process(Nameless(rested)).codec(codec).wait()?;
        assert_eq!(client.r#type(1, "Ann", "Ann", T).wait()?, T);
        assert_eq!(client.locals(1, 2, 1, 1, 1).wait()?, 81);
        assert_eq!(client.greet("Ann").wait()?, "Ann T");
        client.work(1).wait()?;
        rests.recv_timeout(WATCHDOG).unwrap();
    }
    Ok(())
}
