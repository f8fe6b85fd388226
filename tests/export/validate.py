"""Reads events from standard input, one a line, as their consumers do: `validate.py cloudevents` or `validate.py ocsf`.

Ends with exit code 1 and the line that a reader refuses, else prints how many were read. No network is used.
"""

import json
import sys


def cloudevents():
    """The SDK of the CloudEvents project."""
    from cloudevents.core.formats.json import JSONFormat
    from cloudevents.core.v1.event import CloudEvent

    def read(line):
        event = JSONFormat().read(CloudEvent, line)
        record = event.get_data()
        # What the SDK makes of the attributes is what was said, not a default of its own.
        assert event.get_id() == record["id"], "id"
        assert event.get_type() == "dev.attache." + record["event_type"], "type"
        assert event.get_time().isoformat()[:19] == record["time"][:19], "time"

    return read


def ocsf():
    """The schema as it was published for this version, as JSON Schema that knows no further members."""
    import jsonschema_rs
    from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

    published = get_ocsf_schema(version="1.8.0")
    schema = OcsfJsonSchemaEmbedded(published)
    validators = {}

    def read(line):
        event = json.loads(line)
        profiles = tuple(event["metadata"].get("profiles", []))
        name = schema.lookup_class_name_from_uid(event["class_uid"])
        if (name, profiles) not in validators:
            wanted = schema.get_class_schema(name, list(profiles))
            validators[name, profiles] = jsonschema_rs.validator_for(wanted)
        for error in validators[name, profiles].iter_errors(event):
            where, rule = ("/".join(map(str, path)) for path in (error.instance_path, error.schema_path))
            raise ValueError(f"{where} breaks {rule}")
        assert event["metadata"]["version"] == published["version"], "version"
        assert not set(profiles) - set(published["profiles"]), "profiles"
        captions(published["classes"][name], event)

    def captions(of, value):
        """Where a number has a caption beside it, that is the one of the schema: JSON Schema can't say so."""
        for attribute, rule in of["attributes"].items():
            if attribute not in value:
                continue
            for item in value[attribute] if rule.get("is_array") else [value[attribute]]:
                if rule["type"] == "object_t":
                    captions(published["objects"][rule["object_type"]], item)
                caption = rule.get("enum", {}).get(str(item), {}).get("caption")
                shown = value.get(rule.get("sibling"))
                if item != 99 and caption is not None and shown is not None:
                    assert shown == caption, f"{attribute}: {shown} is not {caption}"

    return read


def main():
    read = {"cloudevents": cloudevents, "ocsf": ocsf}[sys.argv[1]]()
    count = 0
    for count, line in enumerate(sys.stdin, 1):
        try:
            read(line)
        except Exception as error:  # Whatever a reader stumbles over.
            sys.exit(f"line {count}: {type(error).__name__}: {error}")
    print(count)


if __name__ == "__main__":
    main()
