/** Tables of the committed streams. */
export const ingestMigrations = [
  `CREATE TABLE epochs (
     device TEXT NOT NULL, epoch TEXT NOT NULL, epoch_no INTEGER NOT NULL,
     PRIMARY KEY (device, epoch)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE stream_positions (
     device TEXT NOT NULL, epoch_no INTEGER NOT NULL, stream TEXT NOT NULL, up_to INTEGER NOT NULL, also TEXT NOT NULL,
     PRIMARY KEY (device, epoch_no, stream)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE batch_digests (
     device TEXT NOT NULL, epoch_no INTEGER NOT NULL, stream TEXT NOT NULL, from_seq INTEGER NOT NULL,
     digest BLOB NOT NULL,
     PRIMARY KEY (device, epoch_no, stream, from_seq)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE clock_offsets (
     device TEXT NOT NULL, boot_id TEXT NOT NULL, offset_ms INTEGER NOT NULL,
     PRIMARY KEY (device, boot_id)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE telemetry_batches (
     device TEXT NOT NULL, epoch_no INTEGER NOT NULL, from_seq INTEGER NOT NULL, to_seq INTEGER NOT NULL,
     site TEXT NOT NULL, assets TEXT NOT NULL, first_at_ms INTEGER NOT NULL, last_at_ms INTEGER NOT NULL,
     offset_ms INTEGER NOT NULL, hist INTEGER NOT NULL, committed_at_ms INTEGER NOT NULL, bytes BLOB NOT NULL,
     PRIMARY KEY (device, epoch_no, from_seq)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE predictions (
     id INTEGER PRIMARY KEY,
     device TEXT NOT NULL, epoch_no INTEGER NOT NULL, seq INTEGER NOT NULL, site TEXT NOT NULL,
     asset TEXT NOT NULL, observed_at_ms INTEGER NOT NULL, corrected_at_ms INTEGER NOT NULL,
     committed_at_ms INTEGER NOT NULL, model TEXT NOT NULL, version INTEGER NOT NULL, digest TEXT NOT NULL,
     value REAL, error TEXT, latency_us REAL, alert INTEGER NOT NULL, hist INTEGER NOT NULL,
     predecessor_digest TEXT, predecessor_value REAL, body TEXT NOT NULL,
     UNIQUE (device, epoch_no, seq)
   ) STRICT;
   CREATE INDEX predictions_by_device ON predictions (device, model, committed_at_ms);
   CREATE INDEX predictions_by_asset ON predictions (asset, observed_at_ms);
   CREATE TABLE events (
     id INTEGER PRIMARY KEY,
     device TEXT NOT NULL, epoch_no INTEGER NOT NULL, seq INTEGER NOT NULL, site TEXT NOT NULL,
     committed_at_ms INTEGER NOT NULL, hist INTEGER NOT NULL, body TEXT NOT NULL,
     UNIQUE (device, epoch_no, seq)
   ) STRICT;
   CREATE TABLE stream_records (
     device TEXT NOT NULL, epoch_no INTEGER NOT NULL, stream TEXT NOT NULL, seq INTEGER NOT NULL, site TEXT NOT NULL,
     committed_at_ms INTEGER NOT NULL, body TEXT NOT NULL,
     PRIMARY KEY (device, epoch_no, stream, seq)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE gaps (
     device TEXT NOT NULL, epoch_no INTEGER NOT NULL, stream TEXT NOT NULL, from_seq INTEGER NOT NULL,
     to_seq INTEGER NOT NULL, reason TEXT NOT NULL, at_ms INTEGER NOT NULL,
     PRIMARY KEY (device, epoch_no, stream, from_seq)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE dead_letters (
     id INTEGER PRIMARY KEY,
     device TEXT NOT NULL, site TEXT NOT NULL, stream TEXT NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL,
     digest BLOB NOT NULL, byte_count INTEGER NOT NULL, bytes BLOB, at_ms INTEGER NOT NULL
   ) STRICT;
   CREATE UNIQUE INDEX dead_letters_once ON dead_letters (device, stream, digest);`,
  // Contents are compared themselves now, record by record, however the batches were cut.
  `DROP TABLE batch_digests;
   ALTER TABLE events ADD COLUMN corrected_at_ms INTEGER NOT NULL DEFAULT 0;
   UPDATE events SET corrected_at_ms = body ->> 'atMs';
   ALTER TABLE events ADD COLUMN asset TEXT;
   UPDATE events SET asset = body ->> 'asset';
   CREATE INDEX events_by_device ON events (device, id);
   CREATE INDEX dead_letters_by_device ON dead_letters (device, id);
   CREATE INDEX predictions_by_model ON predictions (model, id);
   CREATE TABLE latest (
     site TEXT NOT NULL, asset TEXT NOT NULL, kind TEXT NOT NULL,
     device TEXT NOT NULL, epoch_no INTEGER NOT NULL, seq INTEGER NOT NULL, corrected_at_ms INTEGER NOT NULL,
     offset_ms INTEGER NOT NULL, hist INTEGER NOT NULL, body TEXT NOT NULL,
     PRIMARY KEY (site, asset, kind)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE alarms (
     site TEXT NOT NULL, asset TEXT NOT NULL, alarm TEXT NOT NULL,
     device TEXT NOT NULL, epoch_no INTEGER NOT NULL, seq INTEGER NOT NULL, standing INTEGER NOT NULL,
     offset_ms INTEGER NOT NULL, hist INTEGER NOT NULL, body TEXT NOT NULL,
     PRIMARY KEY (site, asset, alarm)
   ) STRICT, WITHOUT ROWID;`,
  // Messages of a device that follow each other lie together: `cuts` says where, as [rows, bytes] of each. They are long, so
  // they lie in the order of their commit, dense, and the key is an index beside them.
  `ALTER TABLE telemetry_batches RENAME TO telemetry_messages;
   CREATE TABLE telemetry_batches (
     device TEXT NOT NULL, epoch_no INTEGER NOT NULL, from_seq INTEGER NOT NULL, to_seq INTEGER NOT NULL,
     site TEXT NOT NULL, assets TEXT NOT NULL, first_at_ms INTEGER NOT NULL, last_at_ms INTEGER NOT NULL,
     offset_ms INTEGER NOT NULL, hist INTEGER NOT NULL, committed_at_ms INTEGER NOT NULL, bytes BLOB NOT NULL,
     cuts TEXT,
     PRIMARY KEY (device, epoch_no, from_seq)
   ) STRICT;
   INSERT INTO telemetry_batches SELECT *, NULL FROM telemetry_messages;
   DROP TABLE telemetry_messages;`,
  // Predictions lie as they came, like telemetry, and what gates ask of them is added up once, at their commit. What was a
  // row for each before becomes a message for each.
  `CREATE TABLE prediction_batches (
     id INTEGER PRIMARY KEY,
     device TEXT NOT NULL, epoch_no INTEGER NOT NULL, from_seq INTEGER NOT NULL, to_seq INTEGER NOT NULL,
     site TEXT NOT NULL, assets TEXT NOT NULL, first_at_ms INTEGER NOT NULL, last_at_ms INTEGER NOT NULL,
     offset_ms INTEGER NOT NULL, hist INTEGER NOT NULL, committed_at_ms INTEGER NOT NULL, bytes BLOB NOT NULL,
     cuts TEXT,
     UNIQUE (device, epoch_no, from_seq)
   ) STRICT;
   CREATE TABLE prediction_sums (
     device TEXT NOT NULL, model TEXT NOT NULL, committed_at_ms INTEGER NOT NULL, batch INTEGER NOT NULL,
     asset TEXT NOT NULL, version INTEGER NOT NULL, digest TEXT NOT NULL, hist INTEGER NOT NULL,
     n INTEGER NOT NULL, errors INTEGER NOT NULL, alerts INTEGER NOT NULL, pairs INTEGER NOT NULL,
     sum_value REAL NOT NULL, sum_predecessor REAL NOT NULL, sum_value_squared REAL NOT NULL,
     sum_predecessor_squared REAL NOT NULL, sum_product REAL NOT NULL, latencies_us BLOB,
     PRIMARY KEY (device, model, committed_at_ms, batch, asset, version, digest)
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX prediction_batches_by_device ON prediction_batches (device);
   CREATE INDEX prediction_sums_by_asset ON prediction_sums (asset, batch);
   CREATE INDEX prediction_sums_by_model ON prediction_sums (model, batch);
   INSERT INTO prediction_batches
     SELECT id, device, epoch_no, seq, seq, site, json_array(asset), observed_at_ms, observed_at_ms,
       corrected_at_ms - observed_at_ms, hist, committed_at_ms,
       CAST(json_object('v', 1, 'fromSeq', seq, 'hist', json(iif(hist, 'true', 'false')),
         'epoch', (SELECT epoch FROM epochs e WHERE e.device = p.device AND e.epoch_no = p.epoch_no),
         'clock', json('{"bootId":"unknown","monoMs":0,"wallMs":0,"clockSynced":false}'),
         'groups', json_array(json_object('asset', asset, 'model', model, 'version', version, 'digest', digest,
           't0', observed_at_ms, 'dt', json_array(), 'moreAt', json_array(0), 'more', json_array(
             json_remove(body, '$.asset', '$.model', '$.version', '$.digest', '$.observedAtMs'))))) AS BLOB), NULL
     FROM predictions p ORDER BY id;
   INSERT INTO prediction_sums
     SELECT device, model, committed_at_ms, id, asset, version, digest, hist, 1, error IS NOT NULL, alert,
       predecessor_value IS NOT NULL, coalesce(iif(predecessor_value IS NULL, 0, value), 0), coalesce(predecessor_value, 0),
       coalesce(iif(predecessor_value IS NULL, 0, value * value), 0), coalesce(predecessor_value * predecessor_value, 0),
       coalesce(value * predecessor_value, 0), NULL
     FROM predictions;
   DROP TABLE predictions;`,
  // Batches get an id that stays theirs whatever is deleted or vacuumed: how far figures are made is told by it.
  `ALTER TABLE telemetry_batches RENAME TO telemetry_unnumbered;
   CREATE TABLE telemetry_batches (
     id INTEGER PRIMARY KEY,
     device TEXT NOT NULL, epoch_no INTEGER NOT NULL, from_seq INTEGER NOT NULL, to_seq INTEGER NOT NULL,
     site TEXT NOT NULL, assets TEXT NOT NULL, first_at_ms INTEGER NOT NULL, last_at_ms INTEGER NOT NULL,
     offset_ms INTEGER NOT NULL, hist INTEGER NOT NULL, committed_at_ms INTEGER NOT NULL, bytes BLOB NOT NULL,
     cuts TEXT,
     UNIQUE (device, epoch_no, from_seq)
   ) STRICT;
   INSERT INTO telemetry_batches SELECT rowid, * FROM telemetry_unnumbered ORDER BY rowid;
   DROP TABLE telemetry_unnumbered;`,
  // Long runs of JSON lie as a zstd frame. Groups of many short messages lie as they came, until several are written into
  // their place as one.
  `ALTER TABLE telemetry_batches ADD COLUMN unpacked_bytes INTEGER;
   ALTER TABLE prediction_batches ADD COLUMN unpacked_bytes INTEGER;
   CREATE TABLE arrivals (
     id INTEGER PRIMARY KEY,
     sources TEXT NOT NULL, source_of BLOB NOT NULL, ends BLOB NOT NULL, received_at_ms BLOB NOT NULL, bytes BLOB NOT NULL,
     unpacked_bytes INTEGER
   ) STRICT;`,
];
