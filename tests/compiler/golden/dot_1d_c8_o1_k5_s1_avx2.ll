%0 = mul nsw i64 %1, %2
%3 = getelementptr inbounds float, ptr %4, i64 %0
%5 = mul nsw i64 %6, %7
%8 = mul nsw i64 %5, 8
%9 = getelementptr inbounds float, ptr %3, i64 %8
%10 = mul nsw i64 %11, 5
%12 = add nsw i64 %10, %6
%13 = add nsw i64 %12, %14
%15 = mul nsw i64 %13, 8
%16 = getelementptr inbounds float, ptr %17, i64 %15
%18 = load <8 x float>, ptr %16, align 4
%19 = mul nsw i64 %2, 0
%20 = getelementptr inbounds float, ptr %9, i64 %19
%21 = load <8 x float>, ptr %20, align 4
%22 = load <8 x float>, <8 x float>* %23
%24 = call <8 x float> @"llvm.fma.v8f32"(<8 x float> %21, <8 x float> %18, <8 x float> %22)
store <8 x float> %24, <8 x float>* %23
%25 = mul nsw i64 %2, 0
%26 = getelementptr inbounds float, ptr %9, i64 %25
%27 = getelementptr inbounds float, ptr %26, i64 8
%28 = load <8 x float>, ptr %27, align 4
%29 = load <8 x float>, <8 x float>* %30
%31 = call <8 x float> @"llvm.fma.v8f32"(<8 x float> %28, <8 x float> %18, <8 x float> %29)
store <8 x float> %31, <8 x float>* %30
%32 = mul nsw i64 %2, 0
%33 = getelementptr inbounds float, ptr %9, i64 %32
%34 = getelementptr inbounds float, ptr %33, i64 16
%35 = load <8 x float>, ptr %34, align 4
%36 = load <8 x float>, <8 x float>* %37
%38 = call <8 x float> @"llvm.fma.v8f32"(<8 x float> %35, <8 x float> %18, <8 x float> %36)
store <8 x float> %38, <8 x float>* %37
%39 = mul nsw i64 %2, 0
%40 = getelementptr inbounds float, ptr %9, i64 %39
%41 = getelementptr inbounds float, ptr %40, i64 24
%42 = load <8 x float>, ptr %41, align 4
%43 = load <8 x float>, <8 x float>* %44
%45 = call <8 x float> @"llvm.fma.v8f32"(<8 x float> %42, <8 x float> %18, <8 x float> %43)
store <8 x float> %45, <8 x float>* %44
%46 = mul nsw i64 %2, 0
%47 = getelementptr inbounds float, ptr %9, i64 %46
%48 = getelementptr inbounds float, ptr %47, i64 32
%49 = load <8 x float>, ptr %48, align 4
%50 = load <8 x float>, <8 x float>* %51
%52 = call <8 x float> @"llvm.fma.v8f32"(<8 x float> %49, <8 x float> %18, <8 x float> %50)
store <8 x float> %52, <8 x float>* %51
%53 = mul nsw i64 %2, 0
%54 = getelementptr inbounds float, ptr %9, i64 %53
%55 = getelementptr inbounds float, ptr %54, i64 40
%56 = load <8 x float>, ptr %55, align 4
%57 = load <8 x float>, <8 x float>* %58
%59 = call <8 x float> @"llvm.fma.v8f32"(<8 x float> %56, <8 x float> %18, <8 x float> %57)
store <8 x float> %59, <8 x float>* %58
%60 = mul nsw i64 %2, 0
%61 = getelementptr inbounds float, ptr %9, i64 %60
%62 = getelementptr inbounds float, ptr %61, i64 48
%63 = load <8 x float>, ptr %62, align 4
%64 = load <8 x float>, <8 x float>* %65
%66 = call <8 x float> @"llvm.fma.v8f32"(<8 x float> %63, <8 x float> %18, <8 x float> %64)
store <8 x float> %66, <8 x float>* %65
%67 = mul nsw i64 %2, 0
%68 = getelementptr inbounds float, ptr %9, i64 %67
%69 = getelementptr inbounds float, ptr %68, i64 56
%70 = load <8 x float>, ptr %69, align 4
%71 = load <8 x float>, <8 x float>* %72
%73 = call <8 x float> @"llvm.fma.v8f32"(<8 x float> %70, <8 x float> %18, <8 x float> %71)
store <8 x float> %73, <8 x float>* %72
%74 = add nsw i64 %6, 1
store i64 %74, i64* %75
br label %76
