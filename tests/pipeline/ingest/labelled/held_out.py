"""Templates of the texts that were written last, after all rules.

Measured before any rule was mended for them: precision 1.000, recall 0.956. What was missed was of three kinds (a JSON Web Token after `=`,
`Fone`, a Bengali mark that stands for a colon), which were mended.
"""

from __future__ import annotations

EMAIL = [
    ("web", 5, "Infos: «email:email» oder am Stand ‹dd›"),
    ("web", 5, "Dr. ‹X› ‹X› («email:other»), Tel. on request"),
    ("web", 5, "RSVP → «email:new»"),
    ("web", 4, "Escríbenos a «email:foreign» y te contestamos"),
    ("web", 4, "адрес «email:idn», вопросы туда же"),
    ("web", 4, "欢迎来信：«email:han mail»。"),
    ("web", 4, "للتواصل «email:arabic mail»"),
    ("web", 4, "お申し込みは、«email:email» へ"),
    ("web", 3, "«email:capitals» (home), «email:word» (work)"),
    ("web", 3, "Sent: ‹month› ‹dd› To: '«email:other»'"),
    ("science", 3, "‹X› ‹X› ^a,*, a. Dept. of ‹X›. * corresponding author, «email:email»"),
    ("science", 3, "ORCID 0000-0001-‹dddd›-‹dddd›, «email:other»"),
    ("code", 3, "# Maintainer: ‹X› <«email:new»>"),
    ("code", 3, "// TODO(«email:email»): remove"),
    ("code", 3, '"contributors": ["‹X› <«email:word»>"]'),
    ("code", 3, "\\author{‹X› \\\\ \\texttt{«email:other»}}"),
    ("code", 3, "To: «email:email»\\nSubject: ‹x›"),
    ("code", 2, "msg['From'] = \"«email:word»\""),
    ("code", 2, "<email>«email:email»</email>"),
]

NOT_EMAIL = [
    ("code", 5, "holder.itemView.setOnClickListener { this@‹Camel›.select(it) }"),
    ("code", 5, "fun ‹Camel›.go() = apply { this@go.next() }"),
    ("code", 5, "run loop@{ items.forEach { if (it.id == ‹d›) return@loop } }"),
    ("code", 5, "    case whole@Point.Of(x, y) => whole"),
    ("code", 5, "beta = np.linalg.solve(X.T@X, X.T@y.data)"),
    ("code", 5, "out = weights@values.view(‹d›, -1)"),
    ("code", 5, "K = B@C.to(‹x›) + D@E.me"),
    ("code", 5, "@Component({selector: '‹x›'}) export class ‹Camel› {}"),
    ("code", 5, "SELECT count(*) FROM audit@archive.live WHERE ts > ‹dddd›"),
    ("code", 5, "EXEC ‹x›.‹x›@‹x›.world(:id);"),
    ("code", 5, "    uses: ‹x›/setup-‹x›@v‹d›.‹d›.‹d›"),
    ("code", 5, "      uses: ‹x›/‹x›/.github/workflows/test.yml@main"),
    ("code", 5, "bun add ‹x›@latest ‹x›@beta"),
    ("code", 5, "+-- @‹x›/‹x›@‹dd›.‹d›.‹d›"),
    ("code", 5, "gem 'x'  # ‹x›@‹d›.‹d›.‹d›"),
    ("code", 5, "systemctl --user enable syncthing@‹x›.service"),
    ("code", 5, "Wants=‹x›@%H.path"),
    ("code", 5, 'src="/img/‹x›@2x.jpeg"'),
    ("code", 5, "ssh -J jump@bastion.‹x›.com ‹x›@10.0.0.‹d›"),
    ("code", 5, "git clone ‹x›@code.‹x›.org:~/‹x›"),
    ("code", 5, "go install ‹x›.dev/cmd/‹x›@latest"),
    ("code", 5, 'printf \'%s@%s\\n\' "$u" "$h"'),
    ("code", 5, "assert '@' in address and address.count('@') == 1"),
    ("code", 5, "jmp foo@plt"),
    ("code", 5, "‹Camel›$Inner@‹hex24›"),
    ("web", 5, "say this@‹Camel›.title, not title alone"),
    ("web", 5, "pip install ‹x› @ https://‹x›.org/‹x›.whl"),
    ("web", 5, "lunch @ noon, dinner @ ‹d›.30"),
    ("science", 5, "MnO@Mn3O4.C composites"),
    ("science", 5, "NDCG@10.0 of 0.‹dd›, MRR@100"),
]

IP = [
    ("web", 4, "banned IP «ip:ip» for a week"),
    ("web", 4, '«ip:ip» - - [‹dd›/Mar/‹year›:10:11:12 +0000] "POST /‹x›"'),
    ("web", 4, "ssh root@«ip:ip»"),
    ("web", 4, "DNS: «ip:small ip»"),
    ("web", 4, "remote address «ip:ip6» seen"),
    ("web", 4, "IP-адрес: «ip:ip»"),
    ("web", 4, "dirección IP «ip:ip»"),
    ("web", 3, "http://«ip:small ip»/‹x›"),
]

NOT_IP = [
    ("web", 5, "‹X› Pro ‹version› for Windows"),
    ("web", 5, "new in ‹version›:"),
    ("web", 5, "v ‹version› (stable)"),
    ("web", 5, "Revision ‹version›"),
    ("web", 5, "‹x›-‹version›.zip"),
    ("web", 5, "Section ‹small›; Clauses ‹small› and ‹small›"),
    ("web", 5, "Kapitel ‹small› beschreibt"),
    ("web", 5, "OID 1.2.840.113549"),
    ("web", 5, "LAN: ‹private›"),
    ("web", 5, "версии ‹version› и новее"),
    ("science", 5, "dental formula I ‹small›"),
    ("science", 5, "synthase (EC ‹enzyme›)"),
    ("science", 5, "Lemma ‹small›."),
    ("science", 5, "using SPSS (v. ‹version›)"),
]

PHONE = [
    ("web", 8, "Info: «phone:intl»"),
    ("web", 8, "«phone:elsewhere» (Mon-Fri)"),
    ("web", 4, "Call us: «phone:us»"),
    ("web", 4, "Telefon «phone:national»"),
    ("web", 4, "Téléphone : «phone:national»"),
    ("web", 4, "Tfno. y fax: «phone:national»"),
    ("web", 4, "Tel. cell. «phone:at home»"),
    ("web", 4, "Fone: «phone:brazilian»"),
    ("web", 4, "телефоны: «phone:russian»"),
    ("web", 4, "联系电话 «phone:chinese»"),
    ("web", 4, "热线电话：«phone:chinese»"),
    ("web", 4, "電話番号は «phone:japanese» です"),
    ("web", 4, "फ़ोन नंबर «phone:indian»"),
    ("web", 4, "ফোনঃ «phone:indian»"),
    ("web", 4, "للاتصال هاتف «phone:arabic»"),
    ("web", 4, "موبائل: «phone:indian»"),
    ("web", 4, "No. Telp: «phone:indian»"),
    ("web", 4, "Mobile: «phone:indian»"),
    ("science", 3, "Fax: «phone:elsewhere»"),
]

NOT_PHONE = [
    ("science", 5, "pH 6.0, 6.5, 7.0 and 7.5 at 25 C"),
    ("science", 5, "pH values of 5.25 - 5.75 - 6.25"),
    ("science", 5, "a cell density of 1 000 000 per ml"),
    ("science", 5, "per cell 12 345 678 molecules"),
    ("science", 5, "coordinates +34.0522, -118.2437"),
    ("science", 5, "constants 1.054 571 817 and 9.109 383 70"),
    ("science", 5, "ISBN 3-‹dddd›-‹dddd›-‹d›"),
    ("science", 5, "pages ‹dddd›-‹dddd› of vol. ‹ddd›"),
    ("science", 5, "in 1961-1990 and 1991-2020"),
    ("science", 5, "accession ‹dddd›‹dddd›, grant ‹ddd›-‹ddd›-‹dddd›"),
    ("web", 5, "mobile 1080 1920 pixels, desktop 2560 1440"),
    ("web", 5, "Handy 2000-3000 mAh"),
    ("web", 5, "prices 1 200 000, 1 350 000 and 1 500 000"),
    ("web", 5, "$ 12,500,000 - $ 15,000,000"),
    ("web", 5, "order ‹ddd›‹ddd›‹dddd›"),
    ("web", 5, "from 2001-09-11 to 2003-03-20"),
    ("web", 5, "22.11.1963 - 24.11.1963"),
    ("web", 5, "match 25-23 25-21 18-25 25-22"),
    ("web", 5, "Konto 1234567 BLZ 200 100 20"),
    ("web", 5, "lat 48.137154 lon 11.576124"),
    ("web", 5, "电话用户 1 000 000 户"),
    ("web", 5, "telefon 1990-2000 yılları"),
    ("web", 5, "hp 1200 1500 1800 engines"),
]

KEY = [
    ("code", 25, 'key = "«key:token»"  # rotate'),
    ("code", 25, "X-Api-Key: «key:other token»"),
    ("code", 20, '{"t": "«key:token»", "n": ‹d›}'),
    ("code", 5, 'cookie = "jwt=«key:jwt»; Path=/"'),
    ("code", 4, '"auth": "«key:docker auth»"'),
    ("code", 4, "AWS_SECRET_ACCESS_KEY='«key:base40»'"),
    ("code", 4, "NETLIFY_AUTH_TOKEN=«key:alnum40»"),
    ("code", 4, "datadog_api_key: '«key:hex32»'"),
    ("code", 3, "-----BEGIN RSA PRIVATE KEY-----\r\n«key:pem»\r\n-----END RSA PRIVATE KEY-----"),
]

PASSWORD = [
    ("code", 5, "DB=postgres://‹x›:«password:password»@‹x›.rds.amazonaws.com/‹x›"),
    ("code", 5, "redis://:«password:password»@10.1.2.3:6379"),
    ("code", 5, "amqps://‹x›:«password:password»@‹x›.cloudamqp.com/‹x›"),
    ("code", 5, "mongodb://root:«password:password»@mongo:27017"),
]

NOT_SECRET = [
    ("code", 4, "see 99999999:the-part-about-the-weather-in-spring"),
    ("code", 4, "id 123456789:TheQuickBrownFoxJumpsOverTheLazyDog"),
    ("code", 4, "OPENAI_API_KEY=sk-proj-xxxxxxxxxxxxxxxxxxxxxxxx"),
    ("code", 4, "STRIPE_KEY=sk_test_xxxxxxxxxxxxxxxxxxxx"),
    ("code", 4, "sha: ‹hex40›"),
    ("code", 4, "digest: sha256:‹hex64›"),
    ("code", 4, 'etag "‹hex32›"'),
    ("code", 4, "uuid=‹uuid›"),
    ("code", 4, "postgres://$PGUSER:$PGPASSWORD@$PGHOST/db"),
    ("code", 4, "https://user:pass@example.com/"),
    ("code", 4, "http://‹x›.com:8080/a@b"),
    ("code", 4, "token = tokens[index].text_with_whitespace_1"),
    ("code", 4, "secret_key_base: <%= ENV['SECRET_KEY_BASE'] %>"),
    ("code", 4, "-----BEGIN PGP SIGNATURE-----\n‹alnum40›\n-----END PGP SIGNATURE-----"),
    ("code", 4, "password: ********"),
]

TEMPLATES = [*EMAIL, *NOT_EMAIL, *IP, *NOT_IP, *PHONE, *NOT_PHONE, *KEY, *PASSWORD, *NOT_SECRET]
