-- A CRM's database, invented:  python -c "import sqlite3; sqlite3.connect('crm.db').executescript(open('crm.sql').read())"
CREATE TABLE contacts (id INTEGER PRIMARY KEY, email TEXT NOT NULL, plan TEXT, seats INTEGER, signed_up TEXT);
INSERT INTO contacts VALUES
    (1, 'anais@example.com', 'team', 5, '2023-03-01T09:00:00Z'),
    (2, 'bjoern@example.com', 'solo', 1, '2023-05-12T17:30:00Z'),
    (3, 'chloe@example.com', NULL, NULL, '2024-01-31T12:15:00Z');
CREATE TABLE deals (id INTEGER PRIMARY KEY, contact_id INTEGER, stage TEXT, amount REAL, at TEXT);
INSERT INTO deals VALUES
    (101, 1, 'opened', 480, '2023-03-02T10:00:00Z'),
    (102, 1, 'won', 480, '2023-03-20T16:45:00Z'),
    (103, 2, 'opened', 99.5, '2023-06-01T08:00:00Z'),
    (104, 3, 'opened', 240, '2024-02-01T11:00:00Z'),
    (105, 3, 'lost', NULL, '2024-02-15T11:00:00Z');
