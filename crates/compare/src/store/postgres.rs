//! PostgreSQL as the store of `cycle`: one table, one prepared query, a pool of connections.

use std::io;

use tenfold_client::pool::PoolOptions;
use tenfold_client::postgres::Client;

/// Most connections of a worker; more queries wait in line. A server allows 100 unless told otherwise.
const CONNECTIONS_MAX: usize = 64;

/// Opens nothing.
pub(super) fn open(url: &str) -> io::Result<Client> {
    let builder = Client::builder(url).map_err(io::Error::other)?;
    Ok(builder.pool(PoolOptions::new().connections_max(CONNECTIONS_MAX)).build())
}

pub(super) fn get(client: &Client, id: u64) -> io::Result<Option<Vec<u8>>> {
    let query = || {
        let mut connection = client.get()?;
        let row = connection
            .query_optional("select item from tenfold_compare where id = $1", &[&id.cast_signed()])?;
        Ok::<_, tenfold_client::Error>(row.map(|row| row.get::<_, String>(0).into_bytes()))
    };
    query().map_err(io::Error::other)
}

/// Makes the table anew.
pub(super) fn fill(client: &Client, items: impl Iterator<Item = (u64, Vec<u8>)>) -> io::Result<()> {
    let fill = || {
        let mut connection = client.get()?;
        connection.batch(
            "drop table if exists tenfold_compare; create table tenfold_compare (id bigint primary key, item text)",
        )?;
        for (id, item) in items {
            let item = String::from_utf8_lossy(&item).into_owned();
            connection.execute("insert into tenfold_compare values ($1, $2)", &[&id.cast_signed(), &item])?;
        }
        Ok::<_, tenfold_client::Error>(())
    };
    fill().map_err(io::Error::other)
}
