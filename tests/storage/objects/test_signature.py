"""The signature is that of Amazon's own examples."""

import calendar

from tesk.storage.objects.signature import Keys, Request, signed

KEYS = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
AT = float(calendar.timegm((2013, 5, 24, 0, 0, 0)))
HOST = "examplebucket.s3.amazonaws.com"


def signature(request: Request, keys: Keys = KEYS) -> str:
    return signed(request, keys, region="us-east-1", at=AT)["Authorization"].rpartition("Signature=")[2]


def test_a_listing_is_signed_as_in_the_manual() -> None:
    # Amazon S3 API Reference, "Examples: Signature Calculations in AWS Signature Version 4", GET Bucket (List Objects)
    assert (
        signature(Request("GET", HOST, "/", "max-keys=2&prefix=J"))
        == "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
    )


def test_a_bucket_question_is_signed_as_in_the_manual() -> None:
    # likewise, GET Bucket Lifecycle
    assert (
        signature(Request("GET", HOST, "/", "lifecycle="))
        == "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
    )


def test_a_session_token_and_our_own_headers_are_signed_too() -> None:
    headers = signed(
        Request("GET", HOST, "/x", amz={"x-amz-checksum-mode": "ENABLED"}),
        KEYS._replace(session_token="token"),
        region="us-east-1",
        at=AT,
    )
    assert headers["x-amz-security-token"] == "token"
    assert (
        "SignedHeaders=host;x-amz-checksum-mode;x-amz-content-sha256;x-amz-date;x-amz-security-token,"
        in headers["Authorization"]
    )
    assert KEYS.secret_access_key not in str(headers)
