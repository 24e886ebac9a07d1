//! Serves the same shop on Tenfold: `after serve --model fiber --workers 1 --listen 127.0.0.1:8000`.

use legacy_shop::{Config, Request, Stores, handle};
use tenfold::client::pool::{Manager, Pool, PoolOptions};
use tenfold::prelude::*;
use tenfold::{Error, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};

type Answer = Result<(StatusCode, HeaderMap, String), Error>;

fn main() -> tenfold::Result<()> {
    // Made in each worker; most sets of connections, so most requests that wait at a time.
    let most = std::env::var("SHOP_CONNECTIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(100);
    let pool = move || Ok(PoolOptions::new().connections_max(most).build(Shop(Config::from_env())));
    App::new().state_with(pool).fallback(shop).main()
}

struct Shop(Config);

impl Manager for Shop {
    type Connection = Stores;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn name(&self) -> &str {
        "shop"
    }

    fn connect(&self) -> Result<Stores, Self::Error> {
        Ok(Stores::connect(&self.0)?)
    }
}

fn shop(
    State(pool): State<Pool<Shop>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    form: String,
) -> Answer {
    let cookie = headers.get("cookie").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let request = Request::new(method.as_str(), &uri.to_string(), cookie, &form);
    let response = handle(&mut *pool.get().map_err(Error::internal)?, &request);
    let mut headers = HeaderMap::new();
    for (name, value) in
        [("Content-Type", response.content_type.to_owned())].into_iter().chain(response.headers())
    {
        headers.append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    Ok((StatusCode::from_u16(response.status)?, headers, response.body))
}
