//! The demo page: the files of `web-demo/`, inside the binary.

use std::{
    collections::HashMap,
    io::Write as _,
    sync::{LazyLock, Mutex, PoisonError},
};

use axum::{
    body::Bytes,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use flate2::{Compression, write::GzEncoder};
use rust_embed::{EmbeddedFile, RustEmbed};

/// The files, by their path below `web-demo/`.
#[derive(RustEmbed)]
#[folder = "web-demo/"]
#[exclude = "miniprogram/*"]
#[exclude = "*.sh"]
#[exclude = "*tsconfig.json"]
pub struct WebDemo;

/// Browsers keep the files but ask each time whether they are still the same: a new binary shows its own page at once,
/// and an unchanged file costs one small answer.
const CACHING: &str = "no-cache";

/// Answers for every path that nothing else answers for.
pub async fn page(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if !matches!(method, Method::GET | Method::HEAD) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response();
    }
    let path = match uri.path() {
        path if path.ends_with('/') => format!("{}index.html", &path[1..]),
        path => path.trim_start_matches('/').to_owned(),
    };
    // A lookup in a fixed table: no path can leave it.
    match WebDemo::get(&path) {
        Some(file) => answer(&path, file, &headers),
        // A folder's page links to what lies beside it, so the folder's address ends in a slash.
        None if WebDemo::get(&format!("{path}/index.html")).is_some() => {
            (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, format!("/{path}/"))]).into_response()
        }
        None => (StatusCode::NOT_FOUND, "there is nothing here\n").into_response(),
    }
}

fn answer(path: &str, file: EmbeddedFile, request: &HeaderMap) -> Response {
    let hash = file.metadata.sha256_hash();
    let tag: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{tag}\"");
    let known = request.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let headers = [
        (header::ETAG, tag.clone()),
        (header::CACHE_CONTROL, CACHING.to_owned()),
        (header::CONTENT_TYPE, content_type(path)),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        // A link to a room may carry a ticket; other sites must not be told of it.
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    if known.is_some_and(|known| known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag)) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    if accepts_gzip(request) && is_text(path) {
        let gzip = [(header::CONTENT_ENCODING, "gzip"), (header::VARY, "Accept-Encoding")];
        return (headers, gzip, compressed(path, hash, &file.data)).into_response();
    }
    (headers, file.data.into_owned()).into_response()
}

fn accepts_gzip(request: &HeaderMap) -> bool {
    let accepted = request.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.split(',').any(|one| one.trim() == "gzip")
}

fn is_text(path: &str) -> bool {
    let mime = mime_guess::from_path(path).first_or_octet_stream();
    mime.type_() == mime_guess::mime::TEXT || mime.subtype() == mime_guess::mime::JAVASCRIPT
}

/// The file in gzip. Each is compressed once: there are as many as the table has.
fn compressed(path: &str, hash: [u8; 32], data: &[u8]) -> Bytes {
    /// By path: of which file, and its bytes.
    type Kept = HashMap<String, ([u8; 32], Bytes)>;
    static KEPT: LazyLock<Mutex<Kept>> = LazyLock::new(Mutex::default);
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((of, bytes)) = kept.get(path)
        && *of == hash
    {
        return bytes.clone();
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let written = encoder.write_all(data).and_then(|()| encoder.finish()).expect("a Vec takes everything");
    let bytes = Bytes::from(written);
    kept.insert(path.to_owned(), (hash, bytes.clone()));
    bytes
}

fn content_type(path: &str) -> String {
    let mime = mime_guess::from_path(path).first_or_octet_stream();
    let text = mime.type_() == mime_guess::mime::TEXT || mime.subtype() == mime_guess::mime::JAVASCRIPT;
    if text { format!("{}; charset=utf-8", mime.essence_str()) } else { mime.essence_str().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(method: Method, path: &str, tag: Option<&str>) -> Response {
        let mut headers = HeaderMap::new();
        if let Some(tag) = tag {
            headers.insert(header::IF_NONE_MATCH, tag.parse().expect("a header"));
        }
        page(method, path.parse().expect("a path"), headers).await
    }

    #[tokio::test]
    async fn the_root_is_the_page_and_is_asked_for_again_by_its_tag() {
        let first = ask(Method::GET, "/", None).await;
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(first.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        let tag = first.headers()[header::ETAG].to_str().expect("text").to_owned();
        assert_eq!(ask(Method::GET, "/index.html", Some(&tag)).await.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(ask(Method::GET, "/", Some("\"other\"")).await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn texts_are_compressed_for_whoever_takes_that() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, "br, gzip".parse().expect("a header"));
        for (path, packed) in [("/demo.js", true), ("/clip.flv", false)] {
            let plain = ask(Method::GET, path, None).await;
            let answer = page(Method::GET, path.parse().expect("a path"), headers.clone()).await;
            assert_eq!(answer.headers().get(header::CONTENT_ENCODING).is_some(), packed, "{path}");
            assert_eq!(answer.headers()[header::ETAG], plain.headers()[header::ETAG]);
            let [plain, answer] = [plain, answer].map(|one| axum::body::to_bytes(one.into_body(), usize::MAX));
            let (plain, mut answer) = (plain.await.expect("whole"), answer.await.expect("whole").to_vec());
            if packed {
                assert!(answer.len() < plain.len() / 2, "{} of {}", answer.len(), plain.len());
                let mut out = Vec::new();
                std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&answer[..]), &mut out).expect("gzip");
                answer = out;
            }
            assert_eq!(answer, plain, "{path}");
        }
    }

    #[tokio::test]
    async fn what_is_not_in_the_table_is_not_found() {
        for path in ["/nothing", "/../Cargo.toml", "/%2e%2e/Cargo.toml", "/..%2fCargo.toml", "//etc/passwd", "/etc/"] {
            assert_eq!(ask(Method::GET, path, None).await.status(), StatusCode::NOT_FOUND, "{path}");
        }
        assert_eq!(ask(Method::POST, "/", None).await.status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    #[test]
    fn files_are_served_as_what_they_are() {
        for (path, expected) in [
            ("index.html", "text/html; charset=utf-8"),
            ("sdk/a.js", "text/javascript; charset=utf-8"),
            ("demo.css", "text/css; charset=utf-8"),
            ("clip.flv", "video/x-flv"),
            ("a.svg", "image/svg+xml"),
            ("a.unknown", "application/octet-stream"),
        ] {
            assert_eq!(content_type(path), expected, "{path}");
        }
    }
}
