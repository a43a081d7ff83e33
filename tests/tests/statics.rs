//! What the types promise, checked when this compiles.

use ipc_rpc::{Call, CallError, Client, Connect, Error, ServiceClient};

#[ipc_rpc::service]
trait Plain {
    async fn add(&self, a: u64, b: u64) -> u64;
    async fn find(&self, text: &str) -> Result<Option<String>, String>;
}

const fn is_send<T: Send>() {}
const fn is_shared<T: Clone + Send + Sync + 'static>() {}
const fn is_unpin<T: Unpin>() {}

const _: () = {
    is_shared::<Client>();
    is_shared::<PlainClient>();
    is_send::<Error>();
    is_send::<CallError<String>>();
    is_send::<Call<'_, PlainAdd>>();
    is_send::<Call<'_, PlainFind<'_>>>();
    is_unpin::<Call<'_, PlainFind<'_>>>();
    is_send::<Connect<PlainClient>>();
    is_unpin::<Connect<PlainClient>>();
    assert!(size_of::<Error>() <= 16);
    assert!(size_of::<Result<(), Error>>() <= 16);
};

struct Nothing;

impl Plain for Nothing {
    async fn add(&self, a: u64, b: u64) -> u64 {
        a + b
    }

    async fn find(&self, text: &str) -> Result<Option<String>, String> {
        if text.is_empty() {
            Err("nothing to find".to_owned())
        } else {
            Ok(Some(text.to_owned()))
        }
    }
}

/// A call is a future like any other: it goes into a task, into a box, and beside others.
#[tokio::test]
async fn calls_are_ordinary_futures() {
    let client = PlainClient::in_process(Nothing).await.unwrap();
    let (sum, found) = tokio::join!(client.add(1, 2), client.find("it"));
    assert_eq!((sum.unwrap(), found.unwrap().unwrap()), (3, "it".to_owned()));
    let moved = client.clone();
    let task = tokio::spawn(async move { moved.find("").await });
    assert!(matches!(task.await.unwrap(), Err(CallError::Service(text)) if text == "nothing to find"));
    let boxed: std::pin::Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(client.add(2, 3));
    assert_eq!(boxed.await.unwrap(), 5);
    let other: PlainClient = client.service();
    assert_eq!(other.add(3, 4).await.unwrap(), 7);
}
