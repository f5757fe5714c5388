-- How the file of an import is read, and the rest of each row that failed.

-- What its owner says, and once it was read what was found: NULL while nobody knows.
ALTER TABLE product.imports ADD COLUMN encoding text;
ALTER TABLE product.imports ADD COLUMN is_guess boolean NOT NULL DEFAULT false;
ALTER TABLE product.imports ADD COLUMN delimiter text;
ALTER TABLE product.imports ADD COLUMN email_column text;
-- One column, or several as in `{first_name} {last_name}`.
ALTER TABLE product.imports ADD COLUMN name_column text;
-- The columns that nothing is read from.
ALTER TABLE product.imports ADD COLUMN skipped text[];

-- All cells of a row that names a person, where the file has other columns too: if it fails, its
-- owner gets the whole row back. A row that became a user needs them no more.
ALTER TABLE product.import_rows ADD COLUMN cells text[];
