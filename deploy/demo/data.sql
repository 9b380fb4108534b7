-- What the demo charts: a year of a small shop's orders.
CREATE TABLE orders AS
SELECT n AS id,
       DATE '2026-01-01' + (n % 330) AS ordered_on,
       (ARRAY['north', 'south', 'east', 'west'])[1 + n % 4] AS region,
       (ARRAY['books', 'games', 'music'])[1 + n % 3] AS category,
       round((5 + (n * 7919 % 9500) / 100.0)::numeric, 2) AS amount
FROM generate_series(1, 5000) AS n;
CREATE TABLE targets AS
SELECT region, 60000 + 5000 * row_number() OVER () AS revenue_target
FROM (VALUES ('north'), ('south'), ('east'), ('west')) AS r (region);
CREATE ROLE shop LOGIN PASSWORD 'demo-shop-password';
GRANT SELECT ON orders, targets TO shop;
