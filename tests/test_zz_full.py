import json
from dataclasses import replace
import numpy as np, pandas as pd, pytest, httpx
from tests import nights
from tests.nights import *
from tests.serving import served, parquet_body, PARQUET
from tests.test_kinds import CHOICE, SPENT, IMPORT, SPEC, BINARY, CANDIDATES, published
from tasks import publish, settings
pytestmark=[pytest.mark.usefixtures("prefect_server"), pytest.mark.filterwarnings("ignore")]
MULTI=[(IMPORT,"from tasks.problems import Multiclass"),(SPEC,f"{CHOICE}{SPEC}"),(BINARY,'Multiclass("choice", ("none","small","large"), key=("number",))'),
 ('slices=("shop",)','slices=("shop", size_band),\n    clean=clean'),("feature_auc=0.95","feature_auc=0.99")]
boosted="HistGradientBoostingRegressor(loss='quantile', max_iter=10, random_state=0)"
QUANT=[(IMPORT,"from sklearn.ensemble import HistGradientBoostingRegressor\nfrom tasks.problems import Regression\nfrom tasks.quantiles import QuantileRegressors"),
 (SPEC,f"{SPENT}{SPEC}"),(BINARY,'Regression("spent", quantiles=(0.1, 0.5, 0.9), key=("number",))'),(CANDIDATES,f'{{"boosted": QuantileRegressors({boosted})}}'),
 ("    holdout=days(7),","    holdout=days(7),\n    clean=clean,"),("feature_auc=0.95","feature_auc=0.999")]
@pytest.mark.parametrize("kind",["multi","quant"])
def test_full(kind, registry_home, tmp_path):
    changes=MULTI if kind=="multi" else QUANT
    write_more(tmp_path/"days",1,30)
    model=write_model(tmp_path/"toy.py",tmp_path/"days",*changes)
    r=run_night(model); print(kind,1,r["verdict"],r["reasons"][:1])
    write_more(tmp_path/"days",31,31)
    (tmp_path/"b").mkdir()
    edited=write_model(tmp_path/"b"/"toy.py",tmp_path/"days",*changes,('.fillna(0.5),','.fillna(0.5) * 1000,'))
    r=run_night(edited); print(kind,2,r["verdict"],r["reasons"]); assert "champion" in r["metrics"]
    print({k:v["value"] for k,v in r["metrics"]["champion"].items()}); print(r["live_lines"])
    write_more(tmp_path/"days",32,32)
    r=run_night(edited); print(kind,3,r["verdict"],r["reasons"][:2]); print(r["live_lines"], r["live"])
    html=(settings.home()/"reports"/"toy"/"history.html").read_text(); assert "pinball" in html or "log loss" in html
    from tasks.report import to_terminal; print(to_terminal(r))
    rows=pd.read_parquet(publish.folder_of("toy")/publish.INPUTS); shown=published()
    with served(registry_home,"toy",tmp_path/"log") as server:
        got=httpx.post(server.url,content=parquet_body(rows),headers={"Content-Type":PARQUET}).raise_for_status().json()["predictions"]
    cols=[c for c in shown if c.startswith("probability_")] if kind=="multi" else ["prediction_10","prediction","prediction_90"]
    print("serve gap",np.abs(np.asarray(got)-shown[cols].to_numpy()).max())
    # backtest
    from tasks import backtest
    from tasks.spec import load_spec
    spec=load_spec(str(edited))
    dates=backtest.list_nights(nth_day(32),spec.label_delay,3,1)
    ns=backtest.prepare_nights(spec,dates,1); fitted=[backtest.fit_night(spec,n) for n in ns]
    print({k:v.champions for k,v in backtest.follow_policies(spec,ns,fitted).items()})
    name=next(iter(spec.candidates))
    e=backtest.measure(spec,ns,{"a":[f.shipped[name] for f in fitted],"b":[fitted[0].shipped[name]]*3}); print(e.primary("a"))
    # rollback
    from flows.rollback import rollback
    from tasks.restore import RollbackConfig
    if len(versions_of())>1:
        s=rollback(RollbackConfig(model="toy"),return_state=True); print(s.name, champion_of())
