"""The master key of all ledgers of the tests, and of the processes that they start."""

import base64

from ledger.master_key import MasterKey

MASTER_KEY = MasterKey(bytes(32))
MASTER_KEY_TEXT = base64.b64encode(bytes(32)).decode()
