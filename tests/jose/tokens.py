"""Foreign JOSE libraries and our tokens: they verify what attache makes, and attache judges what they make.

usage: tokens.py PROGRAM, the built example `tokens`. Exit code 1 and a line for each disagreement.
"""

import base64
import hashlib
import hmac
import json
import pathlib
import subprocess
import sys
import tempfile

import jwt as pyjwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from joserfc import jwk as joserfc_jwk
from joserfc import jwt as joserfc_jwt
from jwcrypto import jwe, jwk, jws
from jwcrypto import jwt as jwcrypto_jwt

PROGRAM = sys.argv[1]
faults = []


def check(fine, what):
    if not fine:
        faults.append(what)
        print(f"FAULT {what}", file=sys.stderr)


def b64(data):
    data = data if isinstance(data, bytes) else data.encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def sign(header, payload, key):
    """A compact token with any header and payload, signed by any key; the signature is raw, as JWS has it."""
    header = header if isinstance(header, str) else json.dumps(header)
    signed = f"{b64(header)}.{b64(payload)}"
    if isinstance(key, ec.EllipticCurvePrivateKey):
        algorithm = pyjwt.algorithms.ECAlgorithm(pyjwt.algorithms.ECAlgorithm.SHA256)
        return f"{signed}.{b64(algorithm.sign(signed.encode(), key))}"
    return f"{signed}.{b64(key.sign(signed.encode()))}"


def verified_by_others(made, algorithm):
    """Each library finds our tokens good by our JWKS alone, and reads the same claims."""
    keys = made["jwks"]["keys"]
    check(len(keys) == 1, "one key is published")
    key = keys[0]
    check("d" not in key, "nothing private is published")
    check(jwk.JWK(**key).thumbprint() == key["kid"], "kid is the RFC 7638 thumbprint by jwcrypto")
    theirs = joserfc_jwk.import_key({k: v for k, v in key.items() if k != "kid"})
    check(theirs.thumbprint() == key["kid"], "kid is the RFC 7638 thumbprint by joserfc")
    expected_header = {"alg": algorithm, "typ": "at+jwt", "kid": key["kid"]}
    for text in made["tokens"]:
        said = json.loads(unb64(text.split(".")[1]))

        token = joserfc_jwt.decode(
            text, joserfc_jwk.KeySet.import_key_set(made["jwks"]), algorithms=[algorithm]
        )
        check(token.header == expected_header and token.claims == said, "joserfc reads the same")
        joserfc_jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": made["issuer"]},
            aud={"essential": True, "value": made["audience"]},
            exp={"essential": True},
        ).validate(token.claims)

        token = jwcrypto_jwt.JWT(
            jwt=text,
            key=jwk.JWKSet.from_json(json.dumps(made["jwks"])),
            algs=[algorithm],
            check_claims={"iss": made["issuer"], "aud": made["audience"]},
        )
        check(json.loads(token.claims) == said, "jwcrypto reads the same")

        client = pyjwt.PyJWS(algorithms=["EdDSA", "ES256"])
        kind = pyjwt.algorithms.ECAlgorithm if key["kty"] == "EC" else pyjwt.algorithms.OKPAlgorithm
        if algorithm == "Ed25519":
            # PyJWT has the algorithm under its older name only.
            client.register_algorithm("Ed25519", kind())
        payload = client.decode(text, kind.from_jwk(json.dumps(key)), algorithms=[algorithm])
        check(json.loads(payload) == said, "PyJWT reads the same")


def cases(made, algorithm, private, pem):
    """What others make, by name: the text, and what we have to say of it."""
    kid = made["jwks"]["keys"][0]["kid"]
    honest = made["tokens"][-1]
    head, body, signature = honest.split(".")
    payload = unb64(body)
    claims = json.loads(payload)
    header = {"alg": algorithm, "typ": "at+jwt", "kid": kid}
    okp = algorithm == "Ed25519"
    other = ed25519.Ed25519PrivateKey.generate() if okp else ec.generate_private_key(ec.SECP256R1())

    # --- Honest: our claims, our key, their signatures.
    yield "untouched", honest, "good"
    ours = jwk.JWK.from_pem(pem)
    names = ["Ed25519", "EdDSA"] if okp else ["ES256"]
    for name in names:
        named = {**header, "alg": name}
        signer = jws.JWS(payload)
        signer.add_signature(ours, alg=name, protected=json.dumps(named))
        yield f"jwcrypto signs as {name}", signer.serialize(compact=True), "good"
        yield f"cryptography signs as {name}", sign(named, payload, private), "good"
    # joserfc orders members as they come, and writes as compactly as we do.
    theirs = joserfc_jwk.import_key(pem, "OKP" if okp else "EC")
    yield "joserfc signs", joserfc_jwt.encode(header, claims, theirs, algorithms=[algorithm]), "good"

    # --- T01 to T03: algorithms.
    for none in ["none", "None", "nOnE", "NONE", ""]:
        for tail in ["", signature]:
            text = f"{b64(json.dumps({**header, 'alg': none}))}.{body}.{tail}"
            yield f"alg {none!r} with {len(tail)} of signature", text, "token_malformed"
    text = pyjwt.PyJWS(algorithms=["none"]).encode(payload, None, algorithm="none", headers={**header, "alg": "none"})
    yield "PyJWT's none", text, "token_malformed"
    public = private.public_key()
    spki = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    raw = unb64(made["jwks"]["keys"][0]["x"])
    for name, secret in [("PEM", spki), ("raw", raw), ("JWK", json.dumps(made["jwks"]).encode())]:
        signed = f"{b64(json.dumps({**header, 'alg': 'HS256'}))}.{body}"
        mac = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
        yield f"HS256 by our {name}", f"{signed}.{b64(mac)}", "token_malformed"
        signed = f"{head}.{body}"
        mac = hmac.new(secret, signed.encode(), hashlib.sha512).digest()
        yield f"HMAC by our {name} under our alg", f"{signed}.{b64(mac)}", "token_signature"
    for name, key in [
        ("RS256", jwk.JWK.generate(kty="RSA", size=2048)),
        ("PS256", jwk.JWK.generate(kty="RSA", size=2048)),
        ("ES384", jwk.JWK.generate(kty="EC", crv="P-384")),
        ("ES256K", jwk.JWK.generate(kty="EC", crv="secp256k1")),
        ("Ed448", jwk.JWK.generate(kty="OKP", crv="Ed448")),
    ]:
        signer = jws.JWS(payload)
        signer.allowed_algs = jws.default_allowed_algs
        signer.add_signature(key, alg=name, protected=json.dumps({**header, "alg": name}))
        yield f"jwcrypto's {name}", signer.serialize(compact=True), "token_malformed"
    foreign = "ES256" if okp else "Ed25519"
    crossed = ec.generate_private_key(ec.SECP256R1()) if okp else ed25519.Ed25519PrivateKey.generate()
    yield f"{foreign} in the name of our key", sign({**header, "alg": foreign}, payload, crossed), "token_key_unknown"

    # --- T04, T06: headers that bring a key or ask for more.
    theirs_public = json.loads(jwk.JWK.from_pyca(other).export_public())
    for member, value in [
        ("jwk", theirs_public),
        ("jku", "https://attacker.example/jwks"),
        ("x5u", "https://attacker.example/cert"),
        ("x5c", ["MIIB"]),
        ("x5t#S256", "x"),
        ("crit", ["exp"]),
        ("crit", []),
        ("b64", False),
        ("zip", "DEF"),
        ("cty", "JWT"),
        ("epk", theirs_public),
        ("nonce", "x"),
    ]:
        for who, key in [("our", private), ("their", other)]:
            yield f"header {member}={value!r} by {who} key", sign({**header, member: value}, payload, key), "token_malformed"
    twice = json.dumps(header)[:-1] + f', "alg": "{algorithm}"}}'
    yield "alg twice", sign(twice, payload, private), "token_malformed"
    for typ in ["JWT", "dpop+jwt", "application/at+jwt", None, 1]:
        yield f"typ {typ!r}", sign({**header, "typ": typ}, payload, private), "token_malformed"
    for gone in header:
        left = {k: v for k, v in header.items() if k != gone}
        yield f"no {gone}", sign(left, payload, private), "token_malformed"

    # --- T05, T12: keys.
    for odd in ["../../etc/passwd", "' OR 1=1 --", "", kid + "=", kid[:-1], "A" * 10240]:
        yield f"kid {odd[:20]!r}", sign({**header, "kid": odd}, payload, private), "token_malformed"
    stranger = jwk.JWK.from_pyca(other).thumbprint()
    yield "a stranger's key", sign({**header, "kid": stranger}, payload, other), "token_key_unknown"
    yield "a stranger in our key's name", sign(header, payload, other), "token_signature"

    # --- T14, T18, T19, T20: forms.
    if not okp:
        der = private.sign(f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))
        yield "a signature in DER", f"{head}.{body}.{b64(der)}", "token_malformed"
    yield "a signature of zeros", f"{head}.{body}.{b64(bytes(64))}", "token_signature"
    yield "padding", f"{head}.{body}.{signature}==", "token_malformed"
    yield "white space", f" {honest}", "token_malformed"
    yield "two parts", f"{head}.{body}", "token_malformed"
    yield "four parts", f"{honest}.{signature}", "token_malformed"
    flattened = json.dumps({"protected": head, "payload": body, "signature": signature})
    yield "JSON serialization", flattened, "token_malformed"
    box = jwe.JWE(honest, json.dumps({"alg": "dir", "enc": "A128GCM", "cty": "JWT"}))
    box.add_recipient(jwk.JWK.generate(kty="oct", size=128))
    yield "encrypted", box.serialize(compact=True), "token_malformed"
    yield "a token in a token", sign(header, honest, private), "token_claims"
    yield "64 KiB", "a" * 65536, "token_malformed"
    yield "detached", f"{head}..{signature}", "token_signature"

    # --- T07 to T13, D35: claims, all of them signed with our own key.
    def changed(**members):
        return sign(header, json.dumps({**claims, **members}, separators=(",", ":")), private)

    def without(member):
        left = {k: v for k, v in claims.items() if k != member}
        return sign(header, json.dumps(left, separators=(",", ":")), private)

    def text(old, new):
        assert old.encode() in payload, old
        return sign(header, payload.replace(old.encode(), new.encode(), 1), private)

    exp, iat = claims["exp"], claims["iat"]
    yield "expired", changed(iat=iat - 400, exp=iat - 100, auth_time=iat - 500), "token_expired"
    yield "from the future", changed(iat=iat + 100, exp=exp + 100), "token_not_yet"
    for member in ["iss", "sub", "aud", "exp", "iat", "jti", "client_id", "sid", "act", "grant", "task", "authorization_details"]:
        yield f"no {member}", without(member), "token_claims"
    for odd in [str(exp), exp + 0.5, -1, 2**63, None, [exp], iat, exp + 10**9]:
        yield f"exp {odd!r}", changed(exp=odd), "token_claims"
    yield "exp 1e999", text(f'"exp":{exp}', '"exp":1e999'), "token_claims"
    yield "exp twice", text('"exp":', f'"exp":{exp},"exp":'), "token_claims"
    yield "sub twice", text('"sub":"usr', '"sub":"usr-bob-002","sub":"usr'), "token_claims"
    yield "nbf", changed(nbf=exp), "token_claims"
    yield "an unknown claim", changed(may_act={"sub": "x"}), "token_claims"
    service = made["audience"]
    yield "another service", changed(aud=["spiffe://example.org/svc/users"]), "token_audience"
    for odd in [service, [], [service, "https://x.example"], ["*"], None]:
        yield f"aud {odd!r}", changed(aud=odd), "token_claims"
    act = claims["act"]
    relabelled = json.loads(payload.replace(b"https://authz.example.org", b"https://other.example.org"))
    yield "another issuer", sign(header, json.dumps(relabelled, separators=(",", ":")), private), "token_issuer"
    for name, odd in [
        ("flat", {k: v for k, v in act.items() if k != "act"}),
        ("skipping one", {**act, "act": act["act"]["act"]}),
        ("an array", [act]),
        ("a string", act["sub"]),
        ("null", None),
        ("a person", {**act, "sub": "usr-alice-001"}),
    ]:
        yield f"act {name}", changed(act=odd), "token_claims"
    bomb = b'{"act":' * 4000 + b"{}" + b"}" * 4000
    yield "act as a bomb", sign(header, bomb[:8000], private), "token_claims"
    details = claims["authorization_details"]
    for name, odd in [
        ("nothing", []),
        ("an unknown type", [{**details[0], "type": "payment_initiation"}]),
        ("an unknown tier", [{**details[0], "tier": "absent"}]),
        ("an object", details[0]),
        ("one more member", [{**details[0], "locations": []}]),
    ]:
        yield f"details: {name}", changed(authorization_details=odd), "token_claims"


def main():
    judged = 0
    for algorithm in ["Ed25519", "ES256"]:
        with tempfile.TemporaryDirectory() as folder:
            keys = pathlib.Path(folder, "keys")
            run = subprocess.run([PROGRAM, "make", keys, algorithm], capture_output=True, text=True, check=True)
            made = json.loads(run.stdout)
            verified_by_others(made, algorithm)
            (file,) = keys.glob("*.pem")
            pem = file.read_bytes()
            private = serialization.load_pem_private_key(pem, None)
            all_cases = list(cases(made, algorithm, private, pem))
            texts = "".join(f"{text}\n" for _, text, _ in all_cases)
            run = subprocess.run([PROGRAM, "judge", keys], input=texts, capture_output=True, text=True, check=True)
            answers = run.stdout.splitlines()
            check(len(answers) == len(all_cases), "one answer for each text")
            for (name, _, expected), answer in zip(all_cases, answers):
                check(answer == expected, f"{algorithm}: {name}: {answer}, not {expected}")
            judged += len(answers)
    print(f"judged={judged} faults={len(faults)}")
    sys.exit(1 if faults else 0)


main()
