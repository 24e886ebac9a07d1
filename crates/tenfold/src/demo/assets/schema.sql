CREATE TABLE articles (
    id    INTEGER PRIMARY KEY,
    title TEXT NOT NULL,
    body  TEXT NOT NULL
);
CREATE TABLE comments (
    id         INTEGER PRIMARY KEY,
    article_id INTEGER NOT NULL REFERENCES articles (id),
    name       TEXT NOT NULL,
    text       TEXT NOT NULL,
    at         TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M', 'now'))
);
CREATE INDEX comments_of_article ON comments (article_id, id);
CREATE TABLE tenfold_once (
    id        TEXT PRIMARY KEY,
    marked_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE sale (
    left INTEGER NOT NULL CHECK (left >= 0)
);
INSERT INTO sale VALUES (1000);
CREATE TABLE tickets (
    id  TEXT PRIMARY KEY,
    won INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE messages (
    id   INTEGER PRIMARY KEY,
    job  TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,
    at   TEXT NOT NULL DEFAULT (strftime('%H:%M:%f', 'now'))
);
CREATE TABLE stock_service (
    down INTEGER NOT NULL
);
INSERT INTO stock_service VALUES (0);
