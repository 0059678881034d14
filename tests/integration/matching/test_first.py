from random import Random
import sys; sys.path.insert(0,'/tmp/mb')
from dbg import explain
from tests.integration.matching.support import Numbered, running
from tests.integration.matching.worlds import RandomBook
from tests.unit.reconciliation.book import TENANT, mapped_book
import pytest, time, os

@pytest.mark.parametrize("seed", range(int(os.environ.get('S0','0')), int(os.environ.get('S1','12'))))
async def test_one(database, seed):
    r = RandomBook(Random(seed), 120)
    records = r.shuffled()
    async with running(database) as m:
        t=time.time()
        n = 0
        while n < len(records):
            k = r.random.randrange(1, 25)
            await m.run(records[n:n+k]); 
            try:
                await m.check(TENANT)
            except AssertionError as e:
                for x in records[n:n+k]: print(x['type'], x['subject'], x['time'], x['data'])
                if e.args and isinstance(e.args[0], tuple): await explain(m, TENANT, e.args[0][0])
                elif '(Key(' in str(e): 
                    from services.matching.expand import Key
                    import datetime
                    key = eval(str(e).split("(",1)[1].split("), '")[0]+")") 
                    await explain(m, TENANT, key)
                raise
            n += k
        t2=time.time()
        print(seed, await m.replay(TENANT), t2-t, time.time()-t2)
