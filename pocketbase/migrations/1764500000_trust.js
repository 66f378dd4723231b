/// What makes a decision trustworthy: where a link came from, evidence that serves one person, numbered uses of flow tokens, budgets of
/// partners, and the document of a check.
migrate(
  (app) => {
    const SERVICE = '@request.auth.collectionName = "users" && @request.auth.role = "service"';
    const collection = (name) => app.findCollectionByNameOrId(name);
    const notSet = (...fields) => fields.map((field) => `@request.body.${field}:isset = false`).join(" && ");
    const text = (name, max, more = {}) => new TextField({ name, max, ...more });
    const flag = (name) => new BoolField({ name });
    const number = (name) => new NumberField({ name, onlyInt: true, min: 0 });
    const choice = (name, values, more = {}) => new SelectField({ name, values, maxSelect: 1, ...more });
    const ofProfile = () =>
      new RelationField({ name: "profile", collectionId: collection("profiles").id, maxSelect: 1, required: true, cascadeDelete: true });
    const created = () => new AutodateField({ name: "created", onCreate: true });
    function add(name, fields, indexes = []) {
      const known = collection(name);
      for (const field of fields) known.fields.add(field);
      for (const [unique, index, columns, where] of indexes) known.addIndex(index, unique, columns, where);
      app.save(known);
    }
    function make(name, fields, indexes, rules) {
      const made = new Collection({ type: "base", name });
      for (const field of fields) made.fields.add(field);
      for (const [unique, index, columns, where] of indexes) made.addIndex(index, unique, columns, where);
      Object.assign(made, { listRule: SERVICE, ...rules });
      app.save(made);
    }
    /// Replaces a part of a rule or a query. Throws when the part is not there, since the schema is then not the one that is known here.
    function replace(where, whole, part, by) {
      if (!whole.includes(part)) throw new Error(`${where} is not what this migration knows`);
      return whole.replace(part, by);
    }

    add(
      "profiles",
      [
        // "open" for a profile of open links. It is apart from the one that the partner's backend or a signed link creates.
        choice("origin", ["open"]),
        // "rules" when the rules of a check set verification_status. Empty when the partner did.
        choice("decided_by", ["rules"]),
        text("date_of_birth", 32),
        // Key that identifiers share when they look alike.
        text("look_alike", 64),
      ],
      [[false, "idx_profiles_look_alike", "look_alike, team", "look_alike != ''"]],
    );
    add(
      "status_history",
      [
        flag("by_rules"),
        // "<UTC day>#<n>" of an entry by flow token. The unique index makes the daily limit exact.
        text("flow_attempt", 16),
      ],
      [[true, "idx_status_history_flow_attempt", "profile, flow_attempt", "flow_attempt != ''"]],
    );
    add("checks", [
      choice("origin", ["backend", "signed", "open"]),
      // Object key of the back of the document; empty without one, and once it is deleted.
      text("id_photo_back", 255),
      // Number of frames of the video that were compared, which are kept beside it.
      number("frames"),
      // What was read on the document: fields, checks, agreement with what was declared.
      new JSONField({ name: "document", maxSize: 32 * 1024 }),
    ]);
    const checks = collection("checks");
    checks.fields.getByName("flow_attempt").max = 16;
    checks.updateRule = replace("the rule of checks", checks.updateRule, '@request.body.id_photo = ""', `@request.body.id_photo = ""
            && (id_photo_back = "" || @request.body.id_photo_back = "") && ${notSet("frames", "origin")}
            && (@request.body.document:isset = false || @request.body.redacted = true)`);
    app.save(checks);

    // Analyses and updates by flow token leave no record of their own, and are counted here.
    make(
      "flow_actions",
      [ofProfile(), choice("kind", ["analysis", "update"], { required: true }), text("flow_attempt", 16, { required: true }), created()],
      [[true, "idx_flow_actions_attempt", "profile, kind, flow_attempt", ""]],
      {
        createRule: `${SERVICE} && (@request.query.by != "flow" ||
          (profile.verification_status != "verified" && profile.verification_status != "rejected")) && profile.redacted != true`,
        deleteRule: SERVICE,
      },
    );
    add("flow_actions", [], [[false, "idx_flow_actions_created", "created", ""]]);

    // Videos, photos, documents and device events that a person has used. The id is derived from the team, the kind and the digest of the
    // evidence, so that it serves one person.
    make(
      "evidence",
      [
        text("team", 64),
        choice("kind", ["video", "photo", "document", "device_event"], { required: true }),
        ofProfile(),
        // The partner's identifier of the person; the id of the profile where there is none.
        text("person", 255, { required: true }),
        created(),
      ],
      [[false, "idx_evidence_profile", "profile", ""]],
      { createRule: `${SERVICE} && profile.redacted != true`, deleteRule: SERVICE },
    );

    // What a partner has used of its budgets of a UTC day. The id is derived from holder, budget and day.
    make(
      "usage",
      [
        text("holder", 255, { required: true }),
        choice("budget", ["checks", "people", "upload_bytes"], { required: true }),
        text("day", 10, { required: true }),
        number("amount"),
        // The limit when the amount was last changed.
        number("most"),
        created(),
      ],
      [[false, "idx_usage_created", "created", ""]],
      {
        createRule: `${SERVICE} && amount <= most`,
        updateRule: `${SERVICE} && @request.body.amount <= @request.body.most`,
        deleteRule: SERVICE,
      },
    );

    add("partners", [
      // How links to the hosted page are trusted: signed with the secret, or open to whoever has the publishable key.
      choice("link_mode", ["signed", "open"]),
      text("link_secret", 128),
      // Budgets of a UTC day. 0 is the default of the API.
      number("daily_checks"),
      number("daily_people"),
      number("daily_upload_megabytes"),
    ]);
    // Links of earlier versions were all open, and must go on working until the operator changes the mode.
    app.db().newQuery("UPDATE partners SET link_mode = 'open'").execute();
    const partners = collection("partners");
    partners.updateRule = `${partners.updateRule} &&
      ${notSet("link_mode", "link_secret", "daily_checks", "daily_people", "daily_upload_megabytes")}`;
    app.save(partners);

    // A profile of open links that the rules rejected stays open: whoever opens such a link can be somebody else.
    for (const name of ["profiles", "verification_history", "status_history", "liveness_sessions", "uploads", "checks", "flow_actions"]) {
      const guarded = collection(name);
      const of = name === "profiles" ? "" : "profile.";
      const rule = name === "profiles" ? "updateRule" : "createRule";
      const decided = `${of}verification_status != "verified" && ${of}verification_status != "rejected"`;
      const open = `${of}verification_status != "verified" &&
        (${of}verification_status != "rejected" || (${of}origin = "open" && ${of}decided_by = "rules"))`;
      guarded[rule] = replace(`${rule} of ${name}`, guarded[rule], decided, open);
      app.save(guarded);
    }

    // Words that leave a profile open. Any other word of the partner is a decision, as "declined".
    const open = "('', 'unverified', 'pending', 'in_review', 'pending_review', 'resubmission_requested', 'expired')";
    const byPartner = (name, query) =>
      replace(name, query, "WHERE lower(new_status) IN ('verified', 'rejected')", `WHERE lower(new_status) NOT IN ${open}`);
    const count = (table, where = "") => `CAST((SELECT COUNT(*) FROM ${table} AS t
        WHERE t.profile = p.id AND t.flow_attempt LIKE date('now') || '#%' ${where}) AS INT)`;
    const overview = collection("profile_overview");
    const where = "profile_overview";
    // Attempts that were given back are named "<UTC day>~<n>" and do not count.
    overview.viewQuery = byPartner(where, overview.viewQuery);
    overview.viewQuery = replace(where, overview.viewQuery, `CAST((SELECT COUNT(*) FROM checks AS t
        WHERE t.profile = p.id AND substr(t.flow_attempt, 1, 10) = date('now')) AS INT)`, count("checks"));
    overview.viewQuery = replace(where, overview.viewQuery, "CAST(date('now') AS TEXT) AS today", `p.origin, p.decided_by,
            p.date_of_birth AS declared_birth, p.document_name, s.by_rules AS latest_by_rules, s.id AS latest_entry,
            ${count("status_history")} AS flow_statuses_today,
            ${count("flow_actions", "AND t.kind = 'analysis'")} AS flow_analyses_today,
            ${count("flow_actions", "AND t.kind = 'update'")} AS flow_updates_today,
            CAST((p.look_alike != '' AND EXISTS (SELECT 1 FROM profiles AS l WHERE l.look_alike = p.look_alike
              AND l.team = p.team AND l.origin = p.origin AND l.user_id != p.user_id AND l.redacted = FALSE)) AS INT) AS look_alikes,
            CAST(date('now') AS TEXT) AS today`);
    app.save(overview);

    const queue = collection("webhook_queue");
    queue.viewQuery = replace("webhook_queue", queue.viewQuery, "c.id_photo,", "c.id_photo, c.id_photo_back,");
    app.save(queue);

    const owners = collection("verification_overview");
    owners.viewQuery = byPartner("verification_overview", owners.viewQuery);
    owners.viewQuery = replace("verification_overview", owners.viewQuery, "p.user_id,",
      `p.user_id, p.origin, p.decided_by, s.by_rules AS latest_by_rules, s.id AS latest_entry,
            ${count("status_history")} AS flow_statuses_today, CAST(date('now') AS TEXT) AS today,`);
    app.save(owners);
  },
  () => {
    throw new Error("the schema is not taken back: restore a backup of the data folder instead");
  },
);
