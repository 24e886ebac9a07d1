//! One route of the user's own app, under every model: `compare --route GET:/path`.

use tenfold_server::{App, Facts};

use super::{Dial, Setup, Workload};
use crate::load::{LoadSpec, Shape, TargetSpec};

/// The route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// As `GET`.
    pub method: String,
    /// With its query, as `/articles/1?page=2`.
    pub path: String,
}

impl std::str::FromStr for Route {
    type Err = String;

    fn from_str(text: &str) -> Result<Route, String> {
        let wrong = || format!("{text:?} is no route: expected METHOD:/path, as in GET:/articles/1");
        let (method, path) = text.split_once(':').ok_or_else(wrong)?;
        let is_method = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase());
        let is_path = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
        match is_method && is_path {
            true => Ok(Route { method: method.into(), path: path.into() }),
            false => Err(wrong()),
        }
    }
}

impl Workload for Route {
    fn name(&self) -> &'static str {
        "route"
    }

    fn teaches(&self) -> &'static str {
        "one route of this app over keep-alive connections, closed loop"
    }

    fn dial(&self, quick: bool) -> Dial {
        Dial::closed(quick, 64)
    }

    fn app(&self, _setup: &Setup) -> Result<App, String> {
        Err("a route is served by the app that has it".into())
    }

    fn fit(&self, dial: &mut Dial, facts: &Facts, workers: usize) -> Option<String> {
        dial.say_who_waits(facts, workers)
    }

    fn load(&self, url: &str, dial: &Dial) -> LoadSpec {
        let shape = Shape::Closed { connections: dial.connections, pipeline: 1, close: false };
        let mut target = TargetSpec::get(format!("{url}{}", self.path), shape);
        target.method.clone_from(&self.method);
        dial.spec(vec![target])
    }

    fn sweep(&self) -> &'static [usize] {
        &[1, 4, 16, 64, 256]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_a_method_and_a_path() {
        let route: Route = "GET:/a/b?c=d:e".parse().unwrap();
        assert_eq!((route.method.as_str(), route.path.as_str()), ("GET", "/a/b?c=d:e"));
        for wrong in ["/a", "GET", "GET:a", "get:/a", ":/a", "GET:/a b"] {
            assert!(wrong.parse::<Route>().unwrap_err().contains("METHOD:/path"), "{wrong}");
        }
    }
}
