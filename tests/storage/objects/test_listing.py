"""What S3 and what stands before it says: pages, errors, and what is neither."""

import pytest

from tesk.storage.objects.listing import Listed, complaint, element, page
from tesk.storage.patience import Again

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'


def test_a_page_says_keys_and_sizes_and_where_to_go_on() -> None:
    document = f"""{HEAD}<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name><Prefix>a/</Prefix>
    <IsTruncated>true</IsTruncated><NextContinuationToken>1ue+/=</NextContinuationToken><EncodingType>url</EncodingType>
    <Contents><Key>a/b+c%0A%2B</Key><ETag>&quot;x&quot;</ETag><Size>7</Size><Owner><ID>Size</ID></Owner></Contents>
    <Contents><Key>a/d/</Key><Size>0</Size></Contents></ListBucketResult>"""
    assert page(document.encode()) == ([Listed("a/b c\n+", 7), Listed("a/d/", 0)], "1ue+/=")


def test_a_server_that_does_not_encode_is_taken_at_its_word() -> None:
    document = f"{HEAD}<x:ListBucketResult xmlns:x='u'><x:Contents><x:Key>a+b%20&amp;&#xe4;</x:Key><x:Size>1</x:Size></x:Contents></x:ListBucketResult>"
    assert page(document.encode()) == ([Listed("a+b%20&ä", 1)], "")


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<html><body>Service <br> unavailable",
        b"<ListBucketResult><Contents><Key>a</Key>",
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x><Contents><Key>&b;</Key></Contents></x>',
    ],
)
def test_what_is_no_listing_is_asked_for_again(document: bytes) -> None:
    with pytest.raises(Again):
        page(document)


def test_an_error_is_its_code_and_message_alone() -> None:
    said = complaint(
        b"<Error><Code>SignatureDoesNotMatch</Code><Message>a &lt;b&gt; &#33;&#x21;</Message><StringToSign>secret</StringToSign></Error>"
    )
    assert str(said) == "SignatureDoesNotMatch: a <b> !!"
    assert str(complaint(b"<html>Bad gateway</html>")) == ""
    assert element(b"<UploadId>a&amp;b</UploadId>", "UploadId") == "a&b"
