/// Redaction: a person's data is removed, the histories stay without it, and `audit` gets a row. Redacted records are marked. No
/// route reads or changes them.
migrate(
  (app) => {
    const SERVICE = '@request.auth.collectionName = "users" && @request.auth.role = "service"';
    const collection = (name) => app.findCollectionByNameOrId(name);
    const notSet = (...fields) => fields.map((field) => `@request.body.${field}:isset = false`).join(" && ");
    const emptied = (...fields) =>
      fields.map((field) => `@request.body.${field}:isset = true && @request.body.${field} = ""`).join(" && ");
    const redacting = `${SERVICE} && redacted = false && @request.body.redacted = true`;

    for (const name of ["profiles", "verification_history", "status_history", "liveness_sessions"]) {
      const redactable = collection(name);
      redactable.fields.add(new BoolField({ name: "redacted" }));
      app.save(redactable);
    }

    const profiles = collection("profiles");
    profiles.updateRule = `${profiles.updateRule} && redacted = false`;
    app.save(profiles);

    // Nothing is added to a redacted profile, even by a request that loaded the profile before its redaction.
    for (const name of ["verification_history", "status_history", "liveness_sessions"]) {
      const history = collection(name);
      history.createRule = `${history.createRule} && profile.redacted != true`;
      app.save(history);
    }

    // Histories are append-only. Redaction is the only change that is allowed.
    const verifications = collection("verification_history");
    verifications.updateRule =
      `${redacting} && ` +
      notSet("profile", "status", "liveness_session_id", "liveness_confidence", "liveness_status", "liveness_verified") +
      ` && ${notSet("liveness_session", "document_type", "flow_attempt")} && ` +
      emptied("document_number", "country", "name", "address", "gender", "date_of_birth", "ip_address") +
      ` && ${emptied("facial_photo", "document_front", "document_back")}`;
    app.save(verifications);
    const statuses = collection("status_history");
    statuses.updateRule =
      `${redacting} && ${emptied("notes")} && ` +
      notSet("profile", "verification", "updated_by", "by_flow", "previous_status", "new_status") +
      ` && ${notSet("liveness_session_id", "liveness_confidence", "liveness_status")}`;
    app.save(statuses);
    const sessions = collection("liveness_sessions");
    sessions.updateRule =
      `(${sessions.updateRule} && redacted = false) || (${redacting} && ${emptied("reference_image")} && ` +
      `@request.body.audit_images:isset = true && @request.body.audit_images:length = 0 && ` +
      `${notSet("session_id", "team", "profile", "status", "confidence")})`;
    app.save(sessions);

    const audit = new Collection({ type: "base", name: "audit" });
    for (const field of [
      new TextField({ name: "action", max: 64, required: true }),
      // The id of the record. It is not a relation, so that the row can outlive the record.
      new TextField({ name: "subject", max: 64, required: true }),
      new TextField({ name: "team", max: 64 }),
      new TextField({ name: "actor", max: 255 }),
      new AutodateField({ name: "created", onCreate: true }),
    ]) {
      audit.fields.add(field);
    }
    audit.addIndex("idx_audit_action_subject", true, "action, subject", "");
    audit.createRule = SERVICE;
    app.save(audit);

    // The views do not show redacted profiles.
    for (const [name, people] of [["profile_overview", "FROM profiles AS p"], ["verification_overview", "JOIN profiles AS p ON p.id = v.profile"]]) {
      const view = collection(name);
      const last = view.viewQuery.trimEnd();
      if (!last.includes(people)) throw new Error(`${name} is not the view that this migration knows`);
      view.viewQuery = `${last} WHERE p.redacted = FALSE`;
      app.save(view);
    }
  },
  () => {
    throw new Error("the schema is not taken back: restore a backup of the data folder instead");
  },
);
