//! The connections that a request needs, and the tables behind them.

use mysql::prelude::Queryable;

use crate::error::Error;

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Config {
    /// `mysql://user@127.0.0.1:3306/shop`
    pub database: String,
    /// `redis://127.0.0.1:6379`
    pub cache: String,
    /// `http://127.0.0.1:9000`, the partner who knows what else people like and who takes the money.
    pub partner: String,
}

/// One set of open connections; one request at a time uses it.
pub struct Stores {
    pub database: mysql::Conn,
    pub cache: redis::Connection,
    pub partner: ureq::Agent,
    pub partner_url: String,
}

impl Config {
    pub fn from_env() -> Config {
        let get = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
        Config {
            database: get("SHOP_DATABASE", "mysql://root@127.0.0.1:3306/shop"),
            cache: get("SHOP_CACHE", "redis://127.0.0.1:6379"),
            partner: get("SHOP_PARTNER", "http://127.0.0.1:9000"),
        }
    }
}

impl Stores {
    pub fn connect(config: &Config) -> Result<Stores, Error> {
        let options = mysql::Opts::from_url(&config.database).map_err(mysql::Error::from)?;
        // The database may be on this machine; TCP is what the shop has always used.
        let options = mysql::OptsBuilder::from_opts(options).prefer_socket(false);
        Ok(Stores {
            database: mysql::Conn::new(options)?,
            cache: redis::Client::open(config.cache.as_str())?.get_connection()?,
            partner: ureq::Agent::new_with_defaults(),
            partner_url: config.partner.clone(),
        })
    }

    /// Makes the tables and, where there are none, some articles.
    pub fn install(&mut self) -> Result<(), Error> {
        for statement in include_str!("../sql/schema.sql").split(';').filter(|part| !part.trim().is_empty()) {
            self.database.query_drop(statement)?;
        }
        let count: Option<u32> = self.database.query_first("SELECT COUNT(*) FROM products")?;
        if count.unwrap_or(0) == 0 {
            let articles = (1..=200).map(|number| {
                let (what, category) = KINDS[number % KINDS.len()];
                (
                    format!("{what} No. {number}"),
                    category,
                    499 + 137 * (number % 40),
                    150 + 60 * (number % 25),
                )
            });
            self.database.exec_batch(
                "INSERT INTO products (name, category, price_cents, weight_grams, stock) VALUES (?, ?, ?, ?, 1000000)",
                articles,
            )?;
        }
        Ok(())
    }
}

const KINDS: [(&str, &str); 5] =
    [("Lamp", "home"), ("Chair", "home"), ("Kettle", "kitchen"), ("Pan", "kitchen"), ("Notebook", "office")];
