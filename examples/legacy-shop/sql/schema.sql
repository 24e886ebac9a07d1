CREATE TABLE IF NOT EXISTS products (
    id INT PRIMARY KEY AUTO_INCREMENT,
    name VARCHAR(80) NOT NULL,
    category VARCHAR(20) NOT NULL,
    price_cents INT NOT NULL,
    weight_grams INT NOT NULL,
    stock INT NOT NULL,
    KEY (category)
);
CREATE TABLE IF NOT EXISTS orders (
    id INT PRIMARY KEY AUTO_INCREMENT,
    session CHAR(32) NOT NULL,
    country CHAR(2) NOT NULL,
    total_cents INT NOT NULL,
    payment VARCHAR(40) NOT NULL,
    placed_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE IF NOT EXISTS order_lines (
    order_id INT NOT NULL,
    product_id INT NOT NULL,
    quantity INT NOT NULL,
    price_cents INT NOT NULL,
    PRIMARY KEY (order_id, product_id)
);
