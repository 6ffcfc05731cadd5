BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE alerts (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	mesh VARCHAR(64) NOT NULL, 
	event_id VARCHAR(64) NOT NULL, 
	root VARCHAR(64) NOT NULL, 
	node VARCHAR(128) NOT NULL, 
	camera VARCHAR(128) NOT NULL, 
	received BIGINT NOT NULL, 
	size INTEGER NOT NULL, 
	via VARCHAR(16) NOT NULL, 
	event JSON NOT NULL, 
	trace JSON NOT NULL, 
	certificate BLOB NOT NULL, 
	signature BLOB NOT NULL, 
	CONSTRAINT uq_alerts_mesh_event_id UNIQUE (mesh, event_id)
);
INSERT INTO "alerts" VALUES(1,'mesh-test','vdhkrr5n6pxqwctjzn5sbyrrwq','hxp63xcpiepvsktjup3opi5i74','node-ap','porch',1795344572782,7394,'https','{"specversion": "1.0", "id": "vdhkrr5n6pxqwctjzn5sbyrrwq", "source": "/ap/person-at-the-door/labels", "type": "image.labels", "time": "2026-11-22T10:49:32.737Z", "data": {"labels": [{"name": "person", "score": 0.91, "box": [0.3, 0.2, 0.3, 0.7]}], "camera": "porch", "device": {"known": false, "private": true, "first_seen": "2026-11-22T10:49:32.737Z", "id": "dev-abcdefgh"}, "width": 640, "height": 360}, "root": "hxp63xcpiepvsktjup3opi5i74", "pipeline": "person-at-the-door", "step": "alert"}','[{"step": "line", "node": "ap", "at_ms": 0.0, "run_ms": 0.0}, {"step": "wifi", "node": "ap", "at_ms": 3.1, "run_ms": 2.4}, {"step": "arrived", "node": "porch", "at_ms": 7.9, "run_ms": 1.2}, {"step": "photos", "node": "porch", "at_ms": 61.0, "run_ms": 48.2}, {"step": "small", "node": "porch", "at_ms": 92.4, "run_ms": 27.9}, {"step": "labels", "node": "gpu", "at_ms": 158.8, "run_ms": 55.1}, {"step": "alert", "node": "ap", "at_ms": 166.2, "run_ms": 3.3}]',X'3082013A3081E1A00302010202141D84925F3516B6C780FDE6DEF023DD422B9D8FE7300A06082A8648CE3D04030230173115301306035504030C0C4341206D6573682D74657374301E170D3730303130313030303030305A170D3237313232373130343933325A30123110300E06035504030C076E6F64652D61703059301306072A8648CE3D020106082A8648CE3D030107034200046D1306625841BA2D9151EFD7558CF4F65FB63B6710A0DF9DA72F3DC4688A07AEDD5E9019F9748419ADDCBCC20C070B1946A44DD0E62796B734D8FF058E959D95A310300E300C0603551D130101FF04023000300A06082A8648CE3D04030203480030450220467F105677A32D6B393F998A25BEC79119D80E094E01CD6CA2D7E3EDA744A9F8022100EC26D267EB6AFA2F9D8D6D515D567ABAD325BF93AD2F9A6E2F097F866C16F881',X'3046022100FFF4E60BE192C040753D8807F8E819DE6F58BF5CA9FA433194483064C5E94B3D022100A3E91A0B2EB6CE1C13DFBEFAE726CB4536C8D1F96377F6213057222A1A3F8BCE');
CREATE TABLE buildings (
	mesh VARCHAR(64) NOT NULL, 
	name VARCHAR(100) NOT NULL, 
	node VARCHAR(128) NOT NULL, 
	time VARCHAR(40) NOT NULL, 
	received BIGINT NOT NULL, 
	seen BIGINT NOT NULL, 
	nodes JSON NOT NULL, 
	warnings JSON NOT NULL, 
	CONSTRAINT pk_buildings PRIMARY KEY (mesh)
);
INSERT INTO "buildings" VALUES('mesh-test','Home','ap','2026-11-22T10:00:00Z',1795344572807,1795344572807,'[{"name": "ap", "alive": "true"}]','[{"code": "camera.silent", "subject": "garage", "text": "no picture", "remedy": "check its cable", "severity": "warning"}]');
CREATE TABLE keys (
	id VARCHAR(8) NOT NULL, 
	name VARCHAR(100) NOT NULL, 
	digest BLOB NOT NULL, 
	created BIGINT NOT NULL, 
	used BIGINT NOT NULL, 
	revoked BIGINT NOT NULL, 
	mesh VARCHAR(64) NOT NULL, 
	ca TEXT NOT NULL, 
	CONSTRAINT pk_keys PRIMARY KEY (id)
);
INSERT INTO "keys" VALUES('43mgm5ax','Home',X'E037775C6CE155DA7616A52111837F679E6CD91ABDA43DD024934628EB8FB759',1795344572641,1795344572751,0,'mesh-test','');
CREATE TABLE login_links (
	digest VARCHAR(64) NOT NULL, 
	user INTEGER NOT NULL, 
	expires BIGINT NOT NULL, 
	CONSTRAINT pk_login_links PRIMARY KEY (digest), 
	CONSTRAINT fk_login_links_user_users FOREIGN KEY(user) REFERENCES users (id) ON DELETE CASCADE
);
CREATE TABLE notices (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	channel VARCHAR(64) NOT NULL, 
	mesh VARCHAR(64) NOT NULL, 
	root VARCHAR(64) NOT NULL, 
	wanted BIGINT NOT NULL, 
	shown BIGINT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	message VARCHAR(64) NOT NULL, 
	files JSON NOT NULL, 
	attempts INTEGER NOT NULL, 
	due BIGINT NOT NULL, 
	error VARCHAR(300) NOT NULL, 
	CONSTRAINT uq_notices_channel_mesh_root UNIQUE (channel, mesh, root)
);
CREATE TABLE photos (
	id INTEGER NOT NULL, 
	alert INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	cid VARCHAR(128) NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	width INTEGER NOT NULL, 
	height INTEGER NOT NULL, 
	size INTEGER NOT NULL, 
	CONSTRAINT pk_photos PRIMARY KEY (id), 
	CONSTRAINT fk_photos_alert_alerts FOREIGN KEY(alert) REFERENCES alerts (seq) ON DELETE CASCADE
);
INSERT INTO "photos" VALUES(1,1,0,'labelled','bafkreibl7yphzewugqtqb36mad6z2t2eidord64b7zaat5uab64m6asizu','6278ca5b6d77a21b5751ddbac1956468f8e5c45427e5a30f383277306da90ef6',640,360,6577);
CREATE TABLE sessions (
	digest VARCHAR(64) NOT NULL, 
	user INTEGER NOT NULL, 
	csrf VARCHAR(64) NOT NULL, 
	created BIGINT NOT NULL, 
	expires BIGINT NOT NULL, 
	CONSTRAINT pk_sessions PRIMARY KEY (digest), 
	CONSTRAINT fk_sessions_user_users FOREIGN KEY(user) REFERENCES users (id) ON DELETE CASCADE
);
CREATE TABLE users (
	id INTEGER NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	password VARCHAR(200) NOT NULL, 
	created BIGINT NOT NULL, 
	CONSTRAINT pk_users PRIMARY KEY (id), 
	CONSTRAINT uq_users_name UNIQUE (name)
);
INSERT INTO "users" VALUES(1,'owner','',1795344572646);
CREATE INDEX ix_alerts_mesh_root ON alerts (mesh, root);
CREATE INDEX ix_alerts_received ON alerts (received);
CREATE INDEX ix_notices_due ON notices (due);
CREATE INDEX ix_login_links_user ON login_links (user);
CREATE INDEX ix_photos_alert ON photos (alert);
CREATE INDEX ix_photos_digest ON photos (digest);
CREATE INDEX ix_sessions_user ON sessions (user);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('alerts',1);
COMMIT;
