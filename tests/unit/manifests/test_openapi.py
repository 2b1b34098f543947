"""OpenAPI documents → drafts of manifests."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest
import yaml

from backplane.cli.app import run
from backplane.manifests.manifest import parse
from backplane.manifests.openapi import Draft, NoDocument, SkippedOperation, drafts
from backplane.manifests.template import template, url_path

DOCUMENT: dict[str, Any] = yaml.safe_load("""
openapi: 3.0.3
info: {title: Pet Shop, version: '1'}
servers:
  - url: https://{region}.pets.example/v1/
    variables: {region: {default: eu}}
security: [{key: []}]
paths:
  /pets/{petId}:
    parameters:
      - {$ref: '#/components/parameters/PetId'}
      - {name: lang, in: header, schema: {type: string}}
    get:
      operationId: getPet
      summary: Gives one pet. With all that is known of it.
      parameters:
        - {name: fields, in: query, schema: {type: array, items: {type: string}}, explode: false}
        - {name: 'x-y', in: query, schema: {type: integer, nullable: true, minimum: 0, exclusiveMinimum: true}}
      responses:
        '200': {$ref: '#/components/responses/Pet'}
    delete:
      operationId: removePet
      responses: {'204': {description: gone}}
      security: []
  /pets:
    post:
      operationId: addPet
      requestBody:
        required: true
        content:
          application/json: {schema: {$ref: '#/components/schemas/Pet'}}
      responses: {'201': {$ref: '#/components/responses/Pet'}}
      security: [{both: [], key: []}, {oauth: ['pets:write']}]
  /forms:
    post:
      requestBody:
        content:
          application/x-www-form-urlencoded:
            schema: {type: object, properties: {name: {type: string}, 'first-name': {type: string}}}
      responses: {'200': {content: {application/json: {}}}}
      security: [{query: []}]
  /picture:
    get:
      operationId: picture
      responses: {'200': {content: {image/png: {}}}}
  /upload:
    post:
      operationId: upload
      requestBody: {content: {application/zip: {}}}
      responses: {'204': {description: ok}}
  /odd/{undeclared}:
    get: {operationId: odd, responses: {}}
  /signed:
    get: {operationId: signed, responses: {}, security: [{mutual: []}]}
components:
  parameters:
    PetId: {name: petId, in: path, required: true, description: Which pet., schema: {type: string}}
  responses:
    Pet:
      description: A pet
      content: {application/hal+json: {schema: {$ref: '#/components/schemas/Pet'}}}
  schemas:
    Pet:
      type: object
      required: [name]
      properties:
        name: {type: string, nullable: true, example: Rex}
        example: {type: string}
        kind: {type: string, enum: [cat, dog], nullable: true}
        friends: {type: array, items: {$ref: '#/components/schemas/Pet'}}
        owner: {$ref: 'other.yaml#/Owner'}
  securitySchemes:
    key: {type: apiKey, in: header, name: X-Key}
    query: {type: apiKey, in: query, name: key}
    both: {type: http, scheme: basic}
    mutual: {type: mutualTLS}
    oauth:
      type: oauth2
      flows: {clientCredentials: {tokenUrl: 'https://pets.example/token', scopes: {}}}
""")


def by_operation(**options: Any) -> dict[str, Draft | SkippedOperation]:
    return {each.operation: each for each in drafts(DOCUMENT, **options)}


def manifest(operation: str) -> dict[str, Any]:
    made = by_operation()[operation]
    assert isinstance(made, Draft), made
    return made.manifest


def test_every_draft_is_a_valid_manifest() -> None:
    """As it is, without a touch of the hand."""
    made = [each for each in drafts(DOCUMENT) if isinstance(each, Draft)]

    assert [parse(yaml.safe_dump(each.manifest), each.operation).name for each in made] == [
        "get_pet",
        "remove_pet",
        "add_pet",
        "post_forms",
    ]


def test_parameters_go_where_they_belong() -> None:
    """Path, query and header; those of the path item too; a name that is no word is quoted."""
    made = manifest("GET /pets/{petId}")

    assert (made["side_effects"], made["description"]) == ("read", "Gives one pet.")
    assert made["params"]["required"] == ["petId"]
    assert made["params"]["properties"]["petId"] == {"description": "Which pet.", "type": "string"}
    assert made["params"]["properties"]["x-y"] == {"type": ["integer", "null"], "exclusiveMinimum": 0}
    request = made["providers"][0]["request"]
    assert request["base_url"] == {"env": "PET_SHOP_BASE_URL", "value": "https://eu.pets.example/v1"}
    assert request["path"] == "/pets/${params.petId}"
    assert request["headers"] == {"lang": "${params.lang}"}
    assert request["query"]["x-y"] == '${params."x-y"}'


def test_schemas_keep_their_references() -> None:
    """One that refers to itself stays finite; today's dialect; what is in another file is any value."""
    schema = manifest("POST /pets")["params"]

    valid = jsonschema_rs.validator_for(schema)
    assert schema["properties"]["body"] == {"$ref": "#/$defs/Pet"}
    pet = {"name": None, "example": "x", "kind": None, "friends": [{"name": "Bo", "friends": []}], "owner": 5}
    assert valid.is_valid({"body": pet})
    assert not valid.is_valid({"body": {"name": "Bo", "friends": [{}]}})
    assert not valid.is_valid({"body": {"name": "Bo", "kind": "fish"}})
    assert not valid.is_valid({})


def test_results_are_those_of_success() -> None:
    """The first JSON response; null where there is no content; anything where nothing is said."""
    assert manifest("GET /pets/{petId}")["result"]["$ref"] == "#/$defs/Pet"
    assert manifest("DELETE /pets/{petId}")["result"] == {"type": "null"}
    assert manifest("POST /forms")["result"] == {}


@pytest.mark.parametrize(
    ("operation", "auth"),
    [
        ("GET /pets/{petId}", {"kind": "header", "name": "X-Key", "secret": {"env": "PET_SHOP_API_KEY"}}),
        ("DELETE /pets/{petId}", None),
        ("POST /forms", {"kind": "query", "name": "key", "secret": {"env": "PET_SHOP_API_KEY"}}),
        (
            "POST /pets",
            {
                "kind": "oauth2_client_credentials",
                "token_url": {"env": "PET_SHOP_TOKEN_URL", "value": "https://pets.example/token"},
                "client_id": {"env": "PET_SHOP_CLIENT_ID"},
                "client_secret": {"env": "PET_SHOP_CLIENT_SECRET"},
                "scope": "pets:write",
            },
        ),
    ],
)
def test_the_proof_is_the_first_that_takes_one_secret(operation: str, auth: Any) -> None:
    """The operation's own wish goes before the document's; [] is none."""
    assert manifest(operation)["providers"][0].get("auth") == auth


def test_a_form_has_its_fields_one_by_one() -> None:
    """Quoted where they are no words."""
    request = manifest("POST /forms")["providers"][0]["request"]

    assert request["encoding"] == "form"
    assert request["body"] == {"name": "${params.body.name}", "first-name": '${params.body."first-name"}'}


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        ("GET /picture", "its response is no JSON: image/png"),
        ("POST /upload", "its request is neither JSON nor a form: application/zip"),
        ("GET /odd/{undeclared}", "its path has a parameter that is not declared"),
        ("GET /signed", "it wants a proof that no kind of auth gives: mutual"),
    ],
)
def test_what_no_draft_is_made_of_is_told(operation: str, reason: str) -> None:
    """With its reason."""
    assert by_operation()[operation] == SkippedOperation(operation, reason)


@pytest.mark.parametrize("document", [None, [], {}, {"openapi": "3.0.0"}, {"swagger": "2.0", "paths": {}}, "openapi"])
def test_what_is_no_document_is_refused(document: Any) -> None:
    """Swagger 2.0 too."""
    with pytest.raises(NoDocument):
        list(drafts(document))


def test_names_are_one_each_and_may_have_a_prefix() -> None:
    """Two operations of one id are two capabilities."""
    paths = {path: {"get": {"operationId": "Get Thing!", "responses": {}}} for path in ("/a", "/b")}
    made = list(drafts({"openapi": "3.1.0", "paths": paths}, prefix="my_"))

    assert [each.manifest["name"] for each in made if isinstance(each, Draft)] == ["my_get_thing", "my_get_thing_2"]


def test_the_command_writes_a_file_a_capability(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Which the platform reads; none is overwritten; what was skipped is told on stderr."""
    from backplane.manifests.registry import load_registry

    (tmp_path / "api.yaml").write_text(yaml.safe_dump(DOCUMENT))
    command = ["capabilities", "import-openapi", str(tmp_path / "api.yaml"), "--out", str(tmp_path / "made")]

    assert run([*command, "--only", "getPet", "--only", "add_pet"]) == 0
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["add_pet.yaml", "get_pet.yaml"]
    assert load_registry([tmp_path / "made"]).get("get_pet").capability.providers[0].name == "pet_shop"
    capsys.readouterr()
    assert run(command) == 2
    assert "add_pet.yaml is there already" in (err := capsys.readouterr().err) or "get_pet.yaml is there" in err
    assert "skipped GET /picture: its response is no JSON" in err


@pytest.mark.parametrize(
    ("text", "code"), [("{", 2), ("\t: x", 2), ("openapi: 2.0", 2), ("openapi: 3.1.0\npaths: {}", 3)]
)
def test_the_command_refuses_what_it_cannot_read(tmp_path: Any, text: str, code: int) -> None:
    """With its exit code."""
    (tmp_path / "api.yaml").write_text(text)

    assert run(["capabilities", "import-openapi", str(tmp_path / "api.yaml")]) == code
    assert run(["capabilities", "import-openapi", str(tmp_path / "none.yaml")]) == 3


def of_parameter(parameter: dict[str, Any], path: str = "/things", **components: Any) -> Draft | SkippedOperation:
    document = {
        "openapi": "3.1.0",
        "info": {"title": "Things"},
        "servers": [{"url": "https://api.example.com"}],
        "paths": {path: {"get": {"operationId": "find", "parameters": [parameter], "responses": {"204": {}}}}},
        "components": {"schemas": components},
    }
    [found] = drafts(document)
    return found


def query_of(parameter: dict[str, Any], given: Any, **components: Any) -> dict[str, Any]:
    """What is sent for this value of the parameter."""
    draft = of_parameter({"name": "f", "in": "query", **parameter}, **components)
    assert isinstance(draft, Draft), draft
    found: dict[str, Any] = template(draft.manifest["providers"][0]["request"]["query"])({"params": {"f": given}})
    return found


LIST = {"type": "array", "items": {"type": "string"}}
OBJECT = {"type": "object", "properties": {"a": {"type": "string"}, "b-c": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("parameter", "given", "sent"),
    [
        ({"schema": LIST}, ["x", "y"], {"f": ["x", "y"]}),
        ({"schema": LIST, "explode": False}, ["x", "y"], {"f": "x,y"}),
        ({"schema": LIST, "style": "pipeDelimited"}, ["x", "y"], {"f": "x|y"}),
        ({"schema": LIST, "style": "pipeDelimited", "explode": True}, ["x", "y"], {"f": ["x", "y"]}),
        ({"schema": LIST, "style": "spaceDelimited", "explode": False}, ["x", "y"], {"f": "x y"}),
        ({"schema": {"$ref": "#/components/schemas/L"}, "style": "pipeDelimited"}, [1, 2], {"f": "1|2"}),
        ({"schema": {"type": ["array", "null"], "items": {}}, "explode": False}, ["x"], {"f": "x"}),
        ({"schema": OBJECT, "style": "deepObject", "explode": True}, {"a": "x", "b-c": 1}, {"f[a]": "x", "f[b-c]": 1}),
        ({"schema": OBJECT, "style": "deepObject"}, {"a": "x"}, {"f[a]": "x"}),
        ({"schema": {"$ref": "#/components/schemas/O"}, "style": "deepObject"}, {"b-c": 2}, {"f[b-c]": 2}),
        ({"schema": OBJECT}, {"a": "x", "b-c": 1}, {"a": "x", "b-c": 1}),
        ({"content": {"application/json": {"schema": OBJECT}}}, {"a": "x"}, {"f": '{"a":"x"}'}),
        ({"schema": LIST, "style": "pipeDelimited"}, None, {}),
        ({"schema": OBJECT, "style": "deepObject"}, None, {}),
        ({"schema": {"type": "string"}}, "x|y", {"f": "x|y"}),
    ],
)
def test_a_parameter_is_sent_as_it_is_declared(parameter: dict[str, Any], given: Any, sent: dict[str, Any]) -> None:
    """By style, explode and content; optional ones are left out."""
    assert query_of(parameter, given, L=LIST, O=OBJECT) == sent


@pytest.mark.parametrize(
    ("parameter", "why"),
    [
        ({"schema": {"type": "object"}, "style": "deepObject"}, "does not declare its properties"),
        ({"schema": {"properties": {"a": OBJECT}}, "style": "deepObject"}, "an object within an object"),
        ({"schema": {"properties": {"a": LIST}}, "style": "deepObject"}, "an object within an object"),
        ({"schema": LIST, "style": "deepObject"}, "of what is no object"),
        ({"schema": OBJECT, "explode": False}, "an object in style 'form' without explode"),
        ({"schema": OBJECT, "style": "pipeDelimited"}, "an object in style 'pipeDelimited'"),
        ({"schema": {"type": "array", "items": OBJECT}}, "a list of objects"),
        ({"schema": {"type": "string"}, "style": "pipeDelimited"}, "of what is no list"),
        ({"schema": LIST, "style": "tabDelimited"}, "style 'tabDelimited'"),
        ({"in": "header", "schema": OBJECT}, "an object in style 'simple'"),
        ({"in": "path", "schema": LIST, "style": "matrix"}, "style 'matrix'"),
        ({"in": "path", "schema": LIST, "style": "label"}, "style 'label'"),
    ],
)
def test_what_cannot_be_sent_as_declared_is_skipped_with_the_reason(parameter: dict[str, Any], why: str) -> None:
    """Never sent otherwise."""
    found = of_parameter({"name": "f", "in": "query", **parameter}, "/x/{f}" if "in" in parameter else "/x")

    assert isinstance(found, SkippedOperation), found
    assert "'f'" in found.reason
    assert why in found.reason


def test_lists_in_paths_and_headers_are_joined() -> None:
    """As the style that both have by default says."""
    path = of_parameter({"name": "f", "in": "path", "required": True, "schema": LIST}, "/things/{f}")
    header = of_parameter({"name": "f", "in": "header", "schema": LIST})
    assert isinstance(path, Draft)
    assert isinstance(header, Draft)

    request = path.manifest["providers"][0]["request"]
    assert url_path(request["path"])({"params": {"f": ["a", "b"]}}) == "/things/a%2Cb"
    headers = header.manifest["providers"][0]["request"]["headers"]
    assert template(headers)({"params": {"f": ["a", "b"]}}) == {"f": "a,b"}


def test_what_is_not_sent_in_a_direction_is_not_required_there() -> None:
    """Read-only in params, write-only in results; also where another schema requires it, or a reference declares it."""
    thing = {
        "type": "object",
        "required": ["id", "name", "password", "made"],
        "properties": {
            "id": {"type": "string", "readOnly": True},
            "made": {"$ref": "#/components/schemas/Made"},
            "name": {"type": "string"},
            "password": {"type": "string", "writeOnly": True},
        },
    }
    schemas = {
        "Made": {"type": "string", "readOnly": True},
        "Base": {"type": "object", "properties": {"id": {"type": "string", "readOnly": True}}},
        "Thing": thing,
        "Both": {"allOf": [{"$ref": "#/components/schemas/Base"}, {"required": ["id", "size"]}], "required": ["id"]},
    }
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}
    both = {"application/json": {"schema": {"$ref": "#/components/schemas/Both"}}}

    def made(body: Any) -> dict[str, Any]:
        operation = {"operationId": "make", "requestBody": {"required": True, "content": body}}
        operation["responses"] = {"201": {"description": "", "content": body}}
        document = {
            "openapi": "3.0.3",
            "info": {"title": "Things"},
            "servers": [{"url": "https://api.example.com"}],
            "paths": {"/things": {"post": operation}},
            "components": {"schemas": schemas},
        }
        [draft] = drafts(document)
        assert isinstance(draft, Draft), draft
        return draft.manifest

    manifest = made(content)
    params = manifest["params"]["$defs"]["Thing"]
    result = manifest["result"]["$defs"]["Thing"]
    joined = made(both)["params"]["$defs"]["Both"]

    assert params["required"] == ["name", "password"]
    assert set(params["properties"]) == {"name", "password"}
    assert result["required"] == ["id", "name", "made"]
    assert jsonschema_rs.is_valid({**manifest["params"]}, {"body": {"name": "n", "password": "p"}})
    assert joined["required"] == []
    assert joined["allOf"][1]["required"] == ["size"]
