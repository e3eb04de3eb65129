//! Providers behind a proxy.

use crate::ask;
use crate::service::limits;
use connect::observe::provider::{Limits, Proxies, Reach, Secret, UkCarbon, WattTime};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A proxy that writes down the head of each request and refuses it.
async fn refusing() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = heads.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).await.unwrap() == 1 {
                head.push(byte[0]);
            }
            log.lock().unwrap().push(String::from_utf8(head).unwrap());
            stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        }
    });
    (address, heads)
}

fn reach(set: &[(&str, String)]) -> Reach {
    let set: Vec<(String, String)> =
        set.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let lookup = |name: &str| Ok(set.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()));
    let limits = Limits { tries: 1, ..limits() };
    Reach { limits, proxies: Proxies::read(lookup).unwrap() }
}

#[tokio::test]
async fn a_provider_is_reached_through_the_proxy_and_secrets_stay_inside_the_tunnel() {
    let (address, heads) = refusing().await;
    let through = reach(&[("HTTPS_PROXY", format!("http://me:pass%40word@{address}"))]);
    let password = Secret::new("hunter2").unwrap();
    let url = "https://carbon.example";
    let mut provider = WattTime::new(url, "freddo", password, through).unwrap();
    let error = ask(&mut provider, "US-CAL-CISO").await.unwrap_err().to_string();
    assert!(error.starts_with("WattTime: sign-in: no answer at 1 try: "), "{error}");
    let heads = heads.lock().unwrap().join("");
    assert!(heads.starts_with("CONNECT carbon.example:443 HTTP/1.1\r\n"), "{heads}");
    // "me:pass@word"; neither the account's name nor its password is in the request to the proxy.
    assert!(heads.to_ascii_lowercase().contains("proxy-authorization: basic bwu6cgfzc0b3b3jk"), "{heads}");
    for secret in ["hunter2", "ZnJl", "freddo"] {
        assert!(!heads.contains(secret), "{heads}");
    }
    for secret in ["pass", "word@", "hunter2"] {
        assert!(
            !format!("{error}{provider:?}").replace("password", "").contains(secret),
            "{error} {provider:?}"
        );
    }
}

#[tokio::test]
async fn what_is_excepted_is_reached_directly() {
    let (address, heads) = refusing().await;
    // Nobody listens at port 1 of loopback: reached directly or not at all.
    for (url, list) in [("https://127.0.0.1:1", ""), ("https://carbon.invalid", "invalid")] {
        let direct = reach(&[("HTTPS_PROXY", address.clone()), ("NO_PROXY", list.to_owned())]);
        let mut provider = UkCarbon::new(url, direct).unwrap();
        ask(&mut provider, "GB").await.unwrap_err();
    }
    assert!(heads.lock().unwrap().is_empty());
}
