/// Schema: the collections of the API, the rules of the service account, and the view that most routes read.
///
/// On an empty data folder, the migration creates everything. On a data folder that already has some of these collections (a
/// PocketBase of the earlier Node service), it adds what is missing, keeps every record, and gives each profile its dedupe_key. It
/// never removes a field.
migrate(
  (app) => {
    const SERVICE = '@request.auth.collectionName = "users" && @request.auth.role = "service"';
    /// Rule that refuses a write by flow token (`?by=flow`) once the profile is decided, even when it was decided between the
    /// look-up and the write.
    const undecided = (status) =>
      `${SERVICE} && (@request.query.by != "flow" || (${status} != "verified" && ${status} != "rejected"))`;
    const MB = 1024 * 1024;
    const TEAM = { pattern: "^[A-Za-z0-9_.:-]*$" };

    const text = (name, max, more = {}) => new TextField({ name, max, ...more });
    const number = (name, more = {}) => new NumberField({ name, ...more });
    const json = (name, maxSize) => new JSONField({ name, maxSize });
    const file = (name, maxSize) => new FileField({ name, maxSize, maxSelect: 1, protected: true });
    const relation = (name, to, more = {}) =>
      new RelationField({ name, collectionId: app.findCollectionByNameOrId(to).id, maxSelect: 1, ...more });
    const timestamps = () => [
      new AutodateField({ name: "created", onCreate: true }),
      new AutodateField({ name: "updated", onCreate: true, onUpdate: true }),
    ];

    /// Adapts an existing field. Throws if the API cannot work with it, so that the migration fails and not a later request.
    function adopt(collection, existing, field) {
      const where = `${collection.name}.${field.name}`;
      const types = `is of type ${existing.type()}, and ${field.type()} is needed: rename it`;
      if (existing.type() === "select" && ["verification_status", "role"].includes(field.name)) {
        const needed = field.name === "role" ? ["service"] : ["unverified", "pending", "verified", "rejected"];
        existing.values = [...existing.values, ...needed.filter((value) => !existing.values.includes(value))];
      } else if (existing.type() !== field.type() && !(existing.type() === "email" && field.name === "email")) {
        throw new Error(`${where} ${types}`);
      }
      if (existing.maxSelect > 1) throw new Error(`${where} holds several values, and one is needed: rename it`);
      existing.required = field.required || false;
    }

    /// Throws with the duplicate value. A unique index on duplicates would fail without naming them.
    function refuseDuplicates(name, column, where) {
      const twice = arrayOf(new DynamicModel({ value: "" }));
      const query = `SELECT ${column} AS value FROM ${name} WHERE ${where} GROUP BY ${column} HAVING COUNT(*) > 1`;
      app.db().newQuery(query).all(twice);
      if (twice.length) throw new Error(`${name} has more than one record with ${column} "${twice[0].value}": keep one`);
    }

    /// Creates the collection, or adds the fields that it lacks. Always sets the rules, and protects all files.
    function ensure(name, rules, fields, indexes = []) {
      let collection;
      try {
        collection = app.findCollectionByNameOrId(name);
      } catch {
        collection = new Collection({ type: "base", name });
      }
      for (const field of fields) {
        const existing = collection.fields.getByName(field.name);
        if (existing) adopt(collection, existing, field);
        else collection.fields.add(field);
      }
      for (const field of collection.fields) {
        if (field.type() === "file") field.protected = true;
      }
      const closed = { listRule: null, viewRule: null, createRule: null, updateRule: null, deleteRule: null };
      Object.assign(collection, { ...closed, ...rules });
      app.save(collection);
      for (const [unique, index, columns, where] of indexes) {
        if (unique && !columns.includes(",")) refuseDuplicates(name, columns, where);
        collection.addIndex(index, unique, columns, where || "");
      }
      app.save(collection);
    }

    // Accounts. Sign-up is closed: the operator creates an account with the role "service".
    const users = app.findCollectionByNameOrId("users");
    for (const field of [text("team", 64, TEAM), new SelectField({ name: "role", values: ["service"], maxSelect: 1 })]) {
      const existing = users.fields.getByName(field.name);
      if (existing) adopt(users, existing, field);
      else users.fields.add(field);
    }
    // No alerts on sign-ins from new addresses: the addresses of Lambda functions change all the time.
    users.authAlert.enabled = false;
    const self = "id = @request.auth.id";
    Object.assign(users, { listRule: self, viewRule: self, createRule: null, updateRule: null, deleteRule: null });
    app.save(users);

    ensure(
      "profiles",
      { listRule: SERVICE, viewRule: SERVICE, createRule: SERVICE, updateRule: undecided("verification_status") },
      [
        text("team", 64),
        text("user_id", 255),
        text("dedupe_key", 80),
        text("name", 255),
        text("document_type", 64),
        text("document_number", 128),
        text("document_name", 255),
        text("country", 128),
        text("phone_number", 64),
        text("email", 254),
        text("security_level", 64),
        text("gender", 32),
        text("ip_address", 45),
        text("language", 35),
        text("verification_status", 32),
        text("face_liveness_session_id", 128),
        number("face_liveness_confidence"),
        text("face_liveness_status", 64),
        json("face_liveness_result", MB),
        file("document_front", 15 * MB),
        file("document_back", 15 * MB),
        file("facial_photo", 15 * MB),
        file("facial_video", 50 * MB),
        ...timestamps(),
      ],
    );

    ensure(
      "verification_history",
      { listRule: SERVICE, viewRule: SERVICE, createRule: undecided("profile.verification_status") },
      [
        relation("profile", "profiles", { required: true, cascadeDelete: true }),
        text("status", 32),
        text("liveness_session_id", 128),
        number("liveness_confidence"),
        text("liveness_status", 64),
        new BoolField({ name: "liveness_verified" }),
        text("document_type", 64),
        text("document_number", 128),
        text("country", 128),
        text("name", 255),
        text("address", 1024),
        text("gender", 32),
        new DateField({ name: "date_of_birth" }),
        json("fingerprint", MB),
        text("ip_address", 45),
        // "<UTC day>#<n>" of a record created by flow token. The unique index makes the daily limit exact.
        text("flow_attempt", 16),
        file("facial_photo", 15 * MB),
        file("document_front", 15 * MB),
        file("document_back", 15 * MB),
        ...timestamps(),
      ],
      [
        [false, "idx_verification_history_profile", "profile, created"],
        [true, "idx_verification_history_flow_attempt", "profile, flow_attempt", "flow_attempt != ''"],
      ],
    );

    ensure(
      "status_history",
      { listRule: SERVICE, viewRule: SERVICE, createRule: undecided("profile.verification_status") },
      [
        relation("profile", "profiles", { required: true, cascadeDelete: true }),
        relation("verification", "verification_history"),
        text("updated_by", 64),
        new BoolField({ name: "by_flow" }),
        text("previous_status", 64),
        text("new_status", 64),
        text("notes", 5000),
        text("liveness_session_id", 128),
        number("liveness_confidence"),
        text("liveness_status", 64),
        ...timestamps(),
      ],
      [[false, "idx_status_history_profile", "profile, created"]],
    );

    ensure(
      "settings",
      { listRule: SERVICE },
      [text("key", 128), json("value", MB), new BoolField({ name: "public" }), ...timestamps()],
      [[true, "idx_settings_key", "key", "key != ''"]],
    );

    ensure(
      "partners",
      { listRule: SERVICE },
      [
        text("name", 255, { required: true }),
        text("team", 64, TEAM),
        new BoolField({ name: "active" }),
        // SHA-256 of the keys in lower-case hexadecimal. The keys themselves are not stored.
        text("secret_key_hash", 64),
        text("publishable_key_hash", 64),
        ...timestamps(),
      ],
      [
        [true, "idx_partners_secret_key_hash", "secret_key_hash", "secret_key_hash != ''"],
        [true, "idx_partners_publishable_key_hash", "publishable_key_hash", "publishable_key_hash != ''"],
      ],
    );

    // Profiles of the earlier service have no dedupe_key. The oldest profile of each person gets the key by which the API finds it
    // (as in shared/src/pocketbase/records/profiles.rs). All others get a key that the API never looks up.
    const hasUserID = !!app.findCollectionByNameOrId("profiles").fields.getByName("userID");
    if (hasUserID) app.db().newQuery("UPDATE profiles SET user_id = userID WHERE user_id = ''").execute();
    const taken = {};
    const rows = arrayOf(
      new DynamicModel({ id: "", team: "", user_id: "", document_type: "", document_number: "", country: "" }),
    );
    app
      .db()
      .newQuery(
        "SELECT id, team, user_id, document_type, document_number, country FROM profiles WHERE dedupe_key = '' ORDER BY created, rowid",
      )
      .all(rows);
    for (const row of rows) {
      const documents = [row.document_type, row.document_number, row.country];
      const folded = documents.map((part) => part.trim().toUpperCase().toLowerCase());
      const parts = row.user_id ? ["user", row.team, row.user_id] : ["document", row.team, ...folded];
      let key = parts[0] + ":" + $security.sha256(parts.slice(1).join("\u0000"));
      if (taken[key] || (!row.user_id && folded.some((part) => part === ""))) key = "legacy:" + row.id;
      taken[key] = true;
      app
        .db()
        .newQuery("UPDATE profiles SET dedupe_key = {:key} WHERE id = {:id}")
        .bind({ key, id: row.id })
        .execute();
    }
    app.db().newQuery("UPDATE profiles SET verification_status = 'unverified' WHERE verification_status = ''").execute();
    const profiles = app.findCollectionByNameOrId("profiles");
    profiles.fields.getByName("dedupe_key").required = true;
    // The dedupe key replaces all earlier unique indexes.
    profiles.indexes = profiles.indexes.filter((index) => !/^\s*create\s+unique/i.test(index));
    profiles.addIndex("idx_profiles_dedupe_key", true, "dedupe_key", "");
    app.save(profiles);

    // Newest entry of the status history. Entries by flow token are ignored after a decision by the partner.
    const newestStatus = `(SELECT e.id FROM status_history AS e WHERE e.profile = p.id AND NOT (e.by_flow AND EXISTS (
            SELECT 1 FROM (SELECT d.new_status FROM status_history AS d WHERE d.profile = p.id AND NOT d.by_flow
              ORDER BY d.created DESC, d.rowid DESC LIMIT 1) WHERE lower(new_status) IN ('verified', 'rejected')))
            ORDER BY e.created DESC, e.rowid DESC LIMIT 1)`;

    // View of a profile with its newest status and verification, and the number of attempts by flow token today.
    app.save(
      new Collection({
        type: "view",
        name: "profile_overview",
        listRule: SERVICE,
        viewQuery: `
          SELECT p.id, p.team, p.name, p.document_type, p.document_number, p.country, p.language,
            p.security_level, p.verification_status, p.created,
            p.document_front, p.document_back, p.facial_photo,
            s.new_status AS latest_status,
            v.id AS verification_id, v.status AS verification_record_status, v.liveness_session_id,
            v.liveness_confidence, v.liveness_status, v.document_type AS verification_document_type,
            v.name AS verification_name, v.document_number AS verification_document_number,
            v.country AS verification_country, v.created AS verification_created, v.updated AS verification_updated,
            CAST((SELECT COUNT(*) FROM verification_history AS a
              WHERE a.profile = p.id AND substr(a.flow_attempt, 1, 10) = date('now')) AS INT) AS flow_attempts_today,
            CAST(date('now') AS TEXT) AS today
          FROM profiles AS p
          LEFT JOIN status_history AS s ON s.id = ${newestStatus}
          LEFT JOIN verification_history AS v ON v.id = (SELECT id FROM verification_history
            WHERE profile = p.id ORDER BY created DESC, rowid DESC LIMIT 1)`,
      }),
    );

    // View of a verification with its profile's team and status.
    app.save(
      new Collection({
        type: "view",
        name: "verification_overview",
        listRule: SERVICE,
        viewQuery: `
          SELECT v.id, v.profile, p.team, p.verification_status, s.new_status AS latest_status
          FROM verification_history AS v
          JOIN profiles AS p ON p.id = v.profile
          LEFT JOIN status_history AS s ON s.id = ${newestStatus}`,
      }),
    );
  },
  () => {
    throw new Error("the schema is not taken back: restore a backup of the data folder instead");
  },
);
