-- What is sold, and the report of each business day.

-- Who is mailed the reports, once they have activated their account.
ALTER TABLE product.users ADD COLUMN admin boolean NOT NULL DEFAULT false;

-- They are few among all users.
CREATE INDEX users_admins ON product.users (id) WHERE admin;

-- Who came on a day.
CREATE INDEX users_created ON product.users (created_at);

CREATE TABLE product.products (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL CONSTRAINT products_name CHECK (name <> ''),
    created_at timestamptz NOT NULL DEFAULT jobs.now()
);

CREATE TABLE product.orders (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- An order, and what it brought in, outlives whoever placed it.
    user_id   bigint REFERENCES product.users ON DELETE SET NULL,
    -- ISO 4217; amounts in different ones are never added.
    currency  text NOT NULL CONSTRAINT orders_currency CHECK (currency ~ '^[A-Z]{3}$'),
    placed_at timestamptz NOT NULL DEFAULT jobs.now(),
    -- Null until it is paid; then it is revenue.
    paid_at   timestamptz
);

-- Deleting a user looks for their orders.
CREATE INDEX orders_of_user ON product.orders (user_id);

-- Who was active on a day, from the index alone.
CREATE INDEX orders_placed ON product.orders (placed_at) INCLUDE (user_id);

-- What was paid in the thirty days of a report; what is not paid is no part of it.
CREATE INDEX orders_paid ON product.orders (paid_at) INCLUDE (id, currency)
    WHERE paid_at IS NOT NULL;

CREATE TABLE product.order_lines (
    order_id   bigint NOT NULL REFERENCES product.orders ON DELETE CASCADE,
    -- From 1, as they stand on the order.
    number     integer NOT NULL CONSTRAINT order_lines_number CHECK (number > 0),
    product_id bigint NOT NULL REFERENCES product.products,
    quantity   integer NOT NULL CONSTRAINT order_lines_quantity CHECK (quantity > 0),
    -- Exact, with as many places as it came with; what is no number or infinite is above the limit.
    unit_price numeric NOT NULL
        CONSTRAINT order_lines_unit_price CHECK (
            unit_price >= 0 AND unit_price < 1e15 AND min_scale(unit_price) <= 12
        ),
    PRIMARY KEY (order_id, number)
);

-- Deleting a product looks for what was sold of it.
CREATE INDEX order_lines_of_product ON product.order_lines (product_id);

-- The numbers of a day as they were when they were first asked for: a day that is over has one
-- report, whatever becomes of the rows behind it, and all its mails say the same.
CREATE TABLE product.daily_report_snapshots (
    business_date date PRIMARY KEY,
    -- Whose day it is, and what that was in time: 23 or 25 hours where the clocks are changed.
    zone          text NOT NULL,
    starts_at     timestamptz NOT NULL,
    ends_at       timestamptz NOT NULL,
    -- Decimals are strings, so that no reader makes floats of them.
    numbers       jsonb NOT NULL,
    made_at       timestamptz NOT NULL DEFAULT jobs.now(),
    CONSTRAINT daily_report_snapshots_day CHECK (starts_at < ends_at),
    CONSTRAINT daily_report_snapshots_over CHECK (ends_at <= made_at)
);

-- Mails of reports are deleted by age; those of other kinds are not.
CREATE INDEX emails_of_reports ON workshed_mail.emails (created_at) WHERE kind = 'daily_report';
